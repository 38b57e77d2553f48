"""Masks drawn over frames."""

from __future__ import annotations

import cv2
import numpy as np

from cosnet_jax.errors import InputError

PREDICTION_COLOUR = (255, 96, 64)
TRUTH_COLOUR = (64, 190, 120)
OPACITY = 0.45  # of the tint; the contour is opaque
GAP = 6  # pixels between two images beside each other


def overlay(frame: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = PREDICTION_COLOUR) -> np.ndarray:
    """Tints the foreground of a frame and draws its contour, about a 250th of the longer side thick.

    Args:
      frame: (h, w, 3) uint8 RGB; not changed.
      mask: (h, w) bool or {0, 1}.
      colour: RGB, 0-255.

    Returns:
      (h, w, 3) uint8 RGB.

    Raises:
      InputError: the frame is not a uint8 RGB image, or the mask has another size.
    """
    frame, mask = np.asarray(frame), np.ascontiguousarray(mask, dtype=bool)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise InputError(f"frame must be (h, w, 3) uint8 RGB, not {frame.shape} {frame.dtype}")
    if mask.shape != frame.shape[:2]:
        raise InputError(f"mask must be as large as the frame, {frame.shape[:2]}, not {mask.shape}")
    picture = frame.copy()
    tint = frame[mask] * (1 - OPACITY) + np.asarray(colour) * OPACITY
    picture[mask] = np.rint(tint).astype(np.uint8)
    draw_contour(picture, mask, colour)
    return picture


def draw_contour(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, ...]) -> None:
    """Draws the contour of a mask into a picture, about a 250th of the longer side thick.

    Args:
      picture: (h, w, c) uint8; changed.
      mask: (h, w) bool, contiguous.
      colour: of the c channels, 0-255.
    """
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, max(1, round(max(mask.shape) / 250)))


def prediction_beside_truth(frame: np.ndarray, prediction: np.ndarray, truth: np.ndarray | None) -> np.ndarray:
    """Shows a frame with the predicted mask and, where there is one, with the ground truth beside it.

    Args:
      frame: (h, w, 3) uint8 RGB.
      prediction: (h, w) bool or {0, 1}.
      truth: (h, w) bool or {0, 1}, or None.

    Returns:
      (h, w, 3) uint8 RGB without ground truth; (h, 2 w + `GAP`, 3) with it: prediction left, ground truth right.

    Raises:
      InputError: as `overlay`.
    """
    left = overlay(frame, prediction)
    if truth is None:
        return left
    white = np.full((left.shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([left, white, overlay(frame, truth, TRUTH_COLOUR)], axis=1)
