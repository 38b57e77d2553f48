"""Masks drawn over frames."""

from __future__ import annotations

import cv2
import numpy as np

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
    """
    mask, picture = np.ascontiguousarray(mask, dtype=bool), frame.copy()
    picture[mask] = np.rint(frame[mask] * (1 - OPACITY) + np.asarray(colour) * OPACITY).astype(np.uint8)
    draw_contour(picture, mask, colour)
    return picture


def draw_contour(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, ...]) -> None:
    """Draws the contour of a mask, (h, w) bool, into a picture (h, w, c) uint8; `colour` is of the c channels."""
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
    """
    left = overlay(frame, prediction)
    return left if truth is None else beside(left, overlay(frame, truth, TRUTH_COLOUR))


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Puts two pictures of equal height beside each other, `GAP` white pixels between them."""
    return np.concatenate([left, np.full((len(left), GAP, 3), 255, np.uint8), right], axis=1)
