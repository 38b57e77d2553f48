"""Masks drawn over frames."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cosnet_jax.errors import InputError

PREDICTION_COLOUR = (255, 96, 64)
TRUTH_COLOUR = (64, 190, 120)


def overlay(
    frame: np.ndarray,
    mask: np.ndarray,
    colour: tuple[int, int, int] = PREDICTION_COLOUR,
    opacity: float = 0.45,
    thickness: int | None = None,
) -> np.ndarray:
    """Tints the foreground of a frame and draws its contour.

    Args:
      frame: (h, w, 3) uint8 RGB; not changed.
      mask: (h, w) bool or {0, 1}.
      colour: RGB, 0-255.
      opacity: of the tint, in [0, 1]; the contour is opaque.
      thickness: of the contour in pixels, 0 for none; None for about a 250th of the longer side.

    Returns:
      (h, w, 3) uint8 RGB.

    Raises:
      InputError: the frame is no uint8 RGB image, or the mask has another size.
    """
    frame, mask = np.asarray(frame), np.ascontiguousarray(mask, dtype=bool)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise InputError(f"frame must be (h, w, 3) uint8 RGB, not {frame.shape} {frame.dtype}")
    if mask.shape != frame.shape[:2]:
        raise InputError(f"mask must be as large as the frame, {frame.shape[:2]}, not {mask.shape}")
    drawn = frame.copy()
    tint = frame[mask] * (1 - opacity) + np.asarray(colour) * opacity
    drawn[mask] = np.rint(tint).astype(np.uint8)
    if thickness is None:
        thickness = max(1, round(max(mask.shape) / 250))
    if thickness:
        contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, colour, thickness)
    return drawn


def side_by_side(images: Sequence[np.ndarray], gap: int = 6, background: int = 255) -> np.ndarray:
    """Puts images of one height beside each other.

    Args:
      images: (h, w, 3) uint8 RGB; the widths may differ.
      gap: pixels between two images.
      background: grey level of the gaps, 0-255.

    Returns:
      (h, sum of the widths and gaps, 3) uint8 RGB.

    Raises:
      InputError: there is no image, or the heights differ.
    """
    heights = {image.shape[0] for image in images}
    if len(heights) != 1:
        raise InputError(f"images beside each other need one height, not {sorted(heights) or 'none'}")
    between = np.full((heights.pop(), gap, 3), background, np.uint8)
    parts = [part for image in images for part in (between, image)]
    return np.concatenate(parts[1:], axis=1)


def comparison(frame: np.ndarray, prediction: np.ndarray, truth: np.ndarray | None, gap: int = 6) -> np.ndarray:
    """Shows a frame with the predicted mask and, if there is one, with the ground truth beside it.

    Args:
      frame: (h, w, 3) uint8 RGB.
      prediction: (h, w) bool or {0, 1}.
      truth: (h, w) bool or {0, 1}, or None.
      gap: pixels between the two images.

    Returns:
      (h, w or 2 w + gap, 3) uint8 RGB: prediction on the left, ground truth on the right.
    """
    images = [overlay(frame, prediction)]
    if truth is not None:
        images.append(overlay(frame, truth, TRUTH_COLOUR))
    return side_by_side(images, gap)
