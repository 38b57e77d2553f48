"""Contour accuracy F: precision and recall of boundary pixels within a small distance."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

from cosnet_jax.evaluation.region import as_masks

TOLERANCE = 0.008  # fraction of the image diagonal


def boundary_f(prediction: np.ndarray, truth: np.ndarray, tolerance: float = TOLERANCE) -> float:
    """Computes the contour accuracy F of Perazzi et al. (CVPR 2016).

    A boundary pixel counts as found where the other mask has a boundary pixel in the disk x^2 + y^2 <= r^2 around it.

    Args:
      prediction: (h, w) bool or {0, 1}.
      truth: (h, w) bool or {0, 1}.
      tolerance: below 1, r as a fraction of the image diagonal, rounded up to whole pixels; from 1 on, r in pixels.

    Returns:
      F = 2 P R / (P + R) in [0, 1]; 1 where no mask has a boundary, 0 where exactly one mask has.

    Raises:
      InputError: the masks are not two images of one size.
    """
    prediction, truth = as_masks(prediction, truth)
    radius = boundary_radius(truth.shape, tolerance)
    window = _window_of_foreground(prediction, truth)
    found = boundary_map(prediction[window])
    wanted = boundary_map(truth[window])
    num_found, num_wanted = np.count_nonzero(found), np.count_nonzero(wanted)
    if num_found == 0 or num_wanted == 0:
        return 1.0 if num_found == num_wanted else 0.0
    disk = _disk(radius)
    near_wanted = cv2.dilate(wanted.view(np.uint8), disk).view(bool)
    near_found = cv2.dilate(found.view(np.uint8), disk).view(bool)
    precision = np.count_nonzero(found & near_wanted) / num_found
    recall = np.count_nonzero(wanted & near_found) / num_wanted
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_radius(shape: tuple[int, int], tolerance: float = TOLERANCE) -> int:
    """Returns the matching distance in pixels for an image of `shape` (h, w): 8 at 480 x 854."""
    return math.ceil(tolerance if tolerance >= 1 else tolerance * math.hypot(*shape))


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """Marks the boundary of a mask: the pixels that differ from their east, south or south-east neighbour.

    In the last row only the east neighbour counts, in the last column only the south neighbour. The last corner is
    never boundary.

    Args:
      mask: (h, w) bool.

    Returns:
      (h, w) bool.
    """
    boundary = np.zeros_like(mask)
    boundary[:, :-1] = mask[:, :-1] ^ mask[:, 1:]
    boundary[:-1] |= mask[:-1] ^ mask[1:]
    boundary[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return boundary


def _window_of_foreground(prediction: np.ndarray, truth: np.ndarray) -> tuple[slice, slice]:
    """Returns the window that holds every boundary pixel of both masks, with a margin of one pixel."""
    x, y, width, height = cv2.boundingRect((prediction | truth).view(np.uint8))
    return slice(max(y - 1, 0), y + height + 1), slice(max(x - 1, 0), x + width + 1)


@functools.cache
def _disk(radius: int) -> np.ndarray:
    offsets = np.arange(-radius, radius + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
