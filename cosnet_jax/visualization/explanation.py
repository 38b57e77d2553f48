"""Draws how a frame was segmented: masks by number of references, co-attention of one pixel, gates."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosnet_jax.visualization.overlays import overlay

TILE = 3.2  # width of a frame in inches


def draw_explanation(
    clip: np.ndarray,
    names: Sequence[str],
    masks: Mapping[str, np.ndarray],
    pixel: tuple[int, int],
    attention: np.ndarray,
    gates: np.ndarray,
) -> bytes:
    """Draws three rows: the masks, the attention of one pixel to each reference, and the gate for each reference.

    Args:
      clip: (1 + N, H, W, 3) uint8 RGB: the frame, then its references.
      names: names of these frames.
      masks: title -> mask (H, W) bool.
      pixel: (y, x) in the frame.
      attention: (N, h, w); each map sums to 1.
      gates: (N, h, w), in [0, 1].

    Returns:
      The content of a PNG file.
    """
    height, width = clip.shape[1:3]
    columns = max(len(masks), len(clip))
    row_height = TILE * height / width + 0.35
    figure = Figure(figsize=(TILE * columns, 3 * row_height), layout="constrained")
    grid = figure.subplots(3, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()

    def show(axes: Axes, title: str, image: np.ndarray, heat: np.ndarray | None = None, vmax: float = 1.0) -> None:
        axes.set_title(title, fontsize=10)
        axes.imshow(image)
        if heat is not None:
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)  # the map has fewer pixels than the frame
            axes.imshow(heat, extent=extent, cmap="inferno", vmin=0, vmax=vmax, alpha=0.65, interpolation="bilinear")

    for axes, (title, mask) in zip(grid[0], masks.items(), strict=False):
        show(axes, title, overlay(clip[0], mask))
    show(grid[1, 0], f"{names[0]}: pixel ({pixel[0]}, {pixel[1]})", clip[0])
    grid[1, 0].plot(pixel[1], pixel[0], "+", color="white", markersize=18, markeredgewidth=4)
    grid[1, 0].plot(pixel[1], pixel[0], "+", color="red", markersize=16, markeredgewidth=2)
    for axes, image, name, heat in zip(grid[1, 1:], clip[1:], names[1:], attention, strict=False):
        show(axes, f"its attention to {name}", image, heat, heat.max())
    for axes, name, gate in zip(grid[2, 1:], names[1:], gates, strict=False):
        show(axes, f"gate of {names[0]} for {name}: {gate.min():.2f} to {gate.max():.2f}", clip[0], gate)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    return file.getvalue()
