"""Draws how a frame was segmented: masks by number of references, co-attention of one pixel, gates."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosnet_jax.visualization.overlays import overlay

TILE = 3.2  # width of a frame in inches
OPACITY = 0.65  # of the colours of a map over a frame
CROSS = ((1 / 80, (255, 255, 255)), (1 / 200, (255, 0, 0)))  # thickness, relative to the longer side, and colour


def lay_map_over(frame: np.ndarray, values: np.ndarray, highest: float = 1.0) -> np.ndarray:
    """Colours a frame by a map of it: dark where the map is 0, bright yellow where it is highest.

    Args:
      frame: (H, W, 3) uint8 RGB; the result too.
      values: (h, w), 0 or more; it is stretched over the frame.
      highest: the value of the brightest colour, above 0.
    """
    levels = cv2.resize(np.clip(values / highest, 0, 1), frame.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    colours = 255 * colormaps["inferno"](levels)[..., :3]
    return np.rint(frame + OPACITY * (colours - frame)).astype(np.uint8)


def mark_pixel(frame: np.ndarray, pixel: tuple[int, int]) -> np.ndarray:
    """Draws a red cross with a white border over a pixel (y, x) of a copy of a frame (H, W, 3) uint8 RGB."""
    picture, side = frame.copy(), max(frame.shape)
    for thickness, colour in CROSS:
        thick = max(1, round(side * thickness))
        cv2.drawMarker(picture, pixel[::-1], colour, cv2.MARKER_CROSS, side // 16 + thick, thick)
    return picture


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
        axes.imshow(image if heat is None else lay_map_over(image, heat, vmax))

    for axes, (title, mask) in zip(grid[0], masks.items(), strict=False):
        show(axes, title, overlay(clip[0], mask))
    show(grid[1, 0], f"{names[0]}: pixel ({pixel[0]}, {pixel[1]})", mark_pixel(clip[0], pixel))
    for axes, image, name, heat in zip(grid[1, 1:], clip[1:], names[1:], attention, strict=False):
        show(axes, f"its attention to {name}", image, heat, heat.max())
    for axes, name, gate in zip(grid[2, 1:], names[1:], gates, strict=False):
        show(axes, f"gate of {names[0]} for {name}: {gate.min():.2f} to {gate.max():.2f}", clip[0], gate)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    return file.getvalue()
