"""A clip for trying the package without data: the camera moves over a photograph."""

from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib.cbook
import numpy as np

from cosnet_jax.video.images import decode_image

PHOTOGRAPH = "grace_hopper.jpg"  # a portrait in the public domain, part of matplotlib


def photograph_clip(num_frames: int = 12, size: tuple[int, int] = (400, 480)) -> np.ndarray:
    """Zooms slowly into a portrait and pans over it.

    Args:
      num_frames: T.
      size: (height, width) of the frames.

    Returns:
      (T, height, width, 3) uint8 RGB.
    """
    path = matplotlib.cbook.get_sample_data(PHOTOGRAPH, asfileobj=False)
    photograph = decode_image(Path(path).read_bytes())
    height, width = photograph.shape[:2]
    frames = []
    for time in np.linspace(0, 1, num_frames):
        window_width = width * (1 - 0.15 * time)
        window_height = window_width * size[0] / size[1]
        left, top = (width - window_width) * time, (height - window_height) * 0.3 * time
        matrix = np.array([[window_width / size[1], 0, left], [0, window_height / size[0], top]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frames.append(cv2.warpAffine(photograph, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT))
    return np.stack(frames)
