"""A picture of how a frame was segmented: masks by number of references, co-attention of a pixel, gates."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from cosnet_jax.visualization.overlays import overlay

TILE = 3.2  # inches: width of a frame


def draw_explanation(
    clip: np.ndarray,
    names: Sequence[str],
    masks: Mapping[str, np.ndarray],
    pixel: tuple[int, int],
    attention: np.ndarray,
    gates: np.ndarray,
) -> bytes:
    """Draws three rows: the masks, where a pixel found its answer in each reference, the gate for each reference.

    Args:
      clip: (1 + N, H, W, 3) uint8 RGB: the frame, then its references.
      names: of these frames.
      masks: (H, W) bool by title.
      pixel: (y, x) in the frame.
      attention: (N, h, w), each summing to 1.
      gates: (N, h, w), in [0, 1].

    Returns:
      A PNG file.
    """
    height, width = clip.shape[1:3]
    columns = max(len(masks), len(clip))
    tall = TILE * height / width
    figure = Figure(figsize=(TILE * columns, 3 * (tall + 0.35)), layout="constrained")
    grid = figure.subplots(3, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()

    def show(axes, title, image, heat=None, largest=1.0):
        axes.set_title(title, fontsize=10)
        axes.imshow(image)
        if heat is not None:
            outline = (-0.5, width - 0.5, height - 0.5, -0.5)
            axes.imshow(
                heat, extent=outline, cmap="inferno", vmin=0, vmax=largest, alpha=0.65, interpolation="bilinear"
            )

    for axes, (title, mask) in zip(grid[0], masks.items(), strict=False):
        show(axes, title, overlay(clip[0], mask))
    show(grid[1, 0], f"{names[0]}: pixel ({pixel[0]}, {pixel[1]})", clip[0])
    grid[1, 0].plot(pixel[1], pixel[0], "+", color="white", markersize=18, markeredgewidth=4)
    grid[1, 0].plot(pixel[1], pixel[0], "+", color="red", markersize=16, markeredgewidth=2)
    for axes, image, name, heat in zip(grid[1, 1:], clip[1:], names[1:], attention, strict=False):
        show(axes, f"its attention onto {name}", image, heat, heat.max())
    for axes, name, gate in zip(grid[2, 1:], names[1:], gates, strict=False):
        show(axes, f"gate of {names[0]} for {name}: {gate.min():.2f} to {gate.max():.2f}", clip[0], gate)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    return file.getvalue()
