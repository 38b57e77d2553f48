"""A clip with two candidates for the object: an astronaut is there all the time, a cup of coffee for a while.

It is composed of three photographs in the public domain (`assets/README.md` names them), so its masks are exact. A
single frame cannot tell which of the two the video is about; all frames together can.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

ASSETS = Path(__file__).parents[1] / "assets"
VISIT = 0.35, 0.65  # when the cup is there; the clip lasts from 0 to 1
WINDOW = 0.8  # width of what the camera sees of the background, as a fraction of the photograph


class SampleClip(NamedTuple):
    """The clip.

    Attributes:
      frames: (T, h, w, 3) uint8 RGB.
      masks: (T, h, w) bool, the astronaut.
      visited: (T,) bool, whether the cup is there.
    """

    frames: np.ndarray
    masks: np.ndarray
    visited: np.ndarray


def sample_clip(num_frames: int = 24, size: tuple[int, int] = (270, 480)) -> SampleClip:
    """Composes the clip.

    Args:
      num_frames: T.
      size: (height, width) of the frames.

    Returns:
      The clip; equal arguments give equal clips.
    """
    astronaut, cup, launch_pad = (
        cv2.imread(str(ASSETS / f"sample_{name}"), cv2.IMREAD_UNCHANGED)
        for name in ("astronaut.webp", "cup.webp", "launch_pad.jpg")
    )
    times = np.linspace(0, 1, num_frames)
    frames, masks = [], []
    for time in times:
        frame, wave = _background(launch_pad, time, size), np.sin(2 * np.pi * time)
        if VISIT[0] <= time <= VISIT[1]:
            share = (time - VISIT[0]) / (VISIT[1] - VISIT[0])
            _paste(frame, cup, 0.42, (0.85 - 0.25 * share, 0.4 + 0.05 * np.sin(7 * share)))
        masks.append(_paste(frame, astronaut, 0.68 + 0.03 * wave, (0.3 + 0.08 * wave, 0.68 - 0.02 * wave)))
        frames.append(frame[..., ::-1])
    visited = (times >= VISIT[0]) & (times <= VISIT[1])
    return SampleClip(np.stack(frames), np.stack(masks), visited)


def _background(photograph: np.ndarray, time: float, size: tuple[int, int]) -> np.ndarray:
    """What a camera sees that pans over a photograph, (*size, 3)."""
    height, width = photograph.shape[:2]
    scale = WINDOW * width / size[1]
    matrix = np.array([[scale, 0, (1 - WINDOW) * width * time], [0, scale, (height - scale * size[0]) * 0.6]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(photograph, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT)


def _paste(frame: np.ndarray, cutout: np.ndarray, height: float, centre: tuple[float, float]) -> np.ndarray:
    """Lays a cut-out over a frame.

    Args:
      frame: (h, w, 3) uint8; changed.
      cutout: (h', w', 4) uint8, opacity last.
      height: of the cut-out, as a fraction of the frame's.
      centre: (x, y) of the cut-out, as fractions of the frame's sides.

    Returns:
      (h, w) bool: where the cut-out covers more than half of a pixel.
    """
    scale = height * frame.shape[0] / cutout.shape[0]
    small = cv2.resize(cutout, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    left, top = np.multiply(centre, frame.shape[1::-1]) - np.divide(small.shape[1::-1], 2)
    matrix = np.array([[1, 0, left], [0, 1, top]])
    # Colours are multiplied by the opacity first, so that those of transparent pixels do not mix in.
    opacity = small[..., 3:] / np.float32(255)
    layers = np.dstack([small[..., :3] * opacity, opacity]).astype(np.float32)
    layers = cv2.warpAffine(layers, matrix, frame.shape[1::-1], flags=cv2.INTER_LINEAR)
    frame[:] = np.rint(frame * (1 - layers[..., 3:]) + layers[..., :3])
    return layers[..., 3] > 0.5
