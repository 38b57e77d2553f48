"""Resizing of frames for the network."""

from __future__ import annotations

import numpy as np
from PIL import Image


def match_orientation(size: tuple[int, int], frame_size: tuple[int, int]) -> tuple[int, int]:
    """The size (height, width) of the network's input, its longer side along the longer side of the frames."""
    (height, width), (frame_height, frame_width) = size, frame_size
    return (width, height) if (height - width) * (frame_height - frame_width) < 0 else (height, width)


def resize_frame(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a frame (H, W, 3) uint8 to `size` (height, width), bilinearly with antialiasing."""
    return np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BILINEAR))
