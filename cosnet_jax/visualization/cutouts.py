"""Cuts the object out of frames, with soft edges, and lays it over other backgrounds."""

from __future__ import annotations

import cv2
import numpy as np

SOFTNESS = 0.25  # alpha rises from 0 to 1 within this distance in probability on both sides of the threshold
EDGE = 1 / 120  # of the longer side: standard deviation of the blur that carries the object's colours over its edge
BLUR = 1 / 40  # of the longer side: standard deviation of the blur of a blurred background


def alpha_of(probability: np.ndarray, threshold: float = 0.5, feather: float = 0.0) -> np.ndarray:
    """Makes the opacity of the object from its probability: opaque inside, a soft edge, nothing outside.

    Args:
      probability: (H, W), in [0, 1].
      threshold: alpha is one half where the probability is this, unless it is within `SOFTNESS` of 0 or 1.
      feather: pixels by which the edge is softened on both sides; 0 for none.

    Returns:
      (H, W) float32 in [0, 1]: 0 up to `threshold - SOFTNESS`, 1 from `threshold + SOFTNESS` on, a straight line
      between.
    """
    low, high = max(threshold - SOFTNESS, 0.0), min(threshold + SOFTNESS, 1.0)
    alpha = np.clip((np.asarray(probability, np.float32) - low) / (high - low), 0, 1, dtype=np.float32)
    # Two standard deviations of a Gaussian hold 95% of an edge's transition.
    return cv2.GaussianBlur(alpha, (0, 0), feather / 2) if feather else alpha


def cut_out(frame: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Gives a frame an alpha channel. Colours are not multiplied by alpha.

    A pixel of the edge shows both the object and what was behind it. The less opaque it is, the more of its colour is
    replaced by that of the object beside it: no seam of the old background is left. Further out the picture is black.

    Args:
      frame: (H, W, 3) uint8 RGB.
      alpha: (H, W) float32 in [0, 1].

    Returns:
      (H, W, 4) uint8 RGBA; where it is opaque, colours are the frame's.
    """
    return np.rint(np.dstack([_object_colours(frame, alpha), alpha * 255])).astype(np.uint8)


def lay_over(frame: np.ndarray, alpha: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Lays the object of a frame over a background.

    Args:
      frame: (H, W, 3) uint8 RGB.
      alpha: (H, W) float32 in [0, 1].
      background: a colour (3,) or a picture (H, W, 3), in 0-255.

    Returns:
      (H, W, 3) uint8 RGB.
    """
    behind = np.asarray(background, np.float32)
    return np.rint(behind + alpha[..., None] * (_object_colours(frame, alpha) - behind)).astype(np.uint8)


def blurred_background(frame: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Blurs what is behind the object, which does not shine into it; arguments as in `lay_over`.

    Returns:
      (H, W, 3) float32 RGB in 0-255; black far inside the object.
    """
    return _blur(frame, 1 - alpha, BLUR * max(frame.shape))


def fill(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales a picture (h, w, 3) uint8 so that it covers a `size` (H, W), and cuts off what stands out."""
    scale = max(length / given for length, given in zip(size, image.shape, strict=False))
    height, width = (max(length, round(given * scale)) for length, given in zip(size, image.shape, strict=False))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(image, (width, height), interpolation=interpolation)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return scaled[top : top + size[0], left : left + size[1]]


def _object_colours(frame: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Fades a frame by its transparency to the colours of the object nearby; gives (H, W, 3) float32."""
    nearby = _blur(frame, alpha**2, EDGE * max(frame.shape))
    return nearby + alpha[..., None] * (frame - nearby)


def _blur(frame: np.ndarray, weight: np.ndarray, deviation: float) -> np.ndarray:
    """Blurs a frame by a Gaussian in which each pixel (H, W) has a weight in [0, 1]; 0 where no weight is near."""
    height, width = weight.shape
    weighted = np.dstack([frame * weight[..., None], weight])
    coarse = max(1, int(deviation / 3))  # a wide blur is done on a smaller picture
    size = max(1, width // coarse), max(1, height // coarse)
    small = cv2.resize(weighted, size, interpolation=cv2.INTER_AREA) if coarse > 1 else weighted
    small = cv2.GaussianBlur(small, (0, 0), max(deviation / coarse, 0.5))
    colours = small[..., :3] / np.maximum(small[..., 3:], 1e-6)
    return cv2.resize(colours, (width, height), interpolation=cv2.INTER_LINEAR) if coarse > 1 else colours
