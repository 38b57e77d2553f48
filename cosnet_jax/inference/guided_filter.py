"""Enlarges maps along the edges of the frame: the guided filter in colour (He, Sun and Tang, PAMI 2013)."""

from __future__ import annotations

import cv2
import numpy as np

EPSILON = 3e-4  # variance of colours, in [0, 1]^2, below which a window counts as flat
PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2), (0, 3), (1, 3), (2, 3))  # of red, green, blue and the map
ROWS = 32  # that are solved at a time: the system is slow to hand out large arrays


def enlarge(probability: np.ndarray, frame: np.ndarray, radius: int) -> np.ndarray:
    """Resizes a map (h, w) to its frame (H, W, 3), by the guided filter where the radius is not 0, else bilinearly."""
    if radius:
        return enlarge_guided(probability, frame, radius)
    return cv2.resize(probability, frame.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def enlarge_guided(probability: np.ndarray, frame: np.ndarray, radius: int) -> np.ndarray:
    """Resizes a map to its frame so that its edges follow those of the frame.

    In each window the map is a linear function of the colours, a . I + b. The coefficients are found at the size of the
    map, averaged over all windows of a pixel, and enlarged instead of the map (He and Sun, 2015: fast guided filter). A
    median of 3 x 3 then removes the single pixels that fine texture leaves.

    Args:
      probability: (h, w) float32, in [0, 1].
      frame: (H, W, 3) uint8.
      radius: of the windows, in pixels of the map.

    Returns:
      (H, W) float32, in [0, 1].
    """

    def average(values: np.ndarray, means: np.ndarray) -> None:
        for plane, mean in zip(values, means, strict=True):
            cv2.blur(plane, (2 * radius + 1, 2 * radius + 1), mean, borderType=cv2.BORDER_REFLECT)

    values = np.empty((4 + len(PAIRS), *probability.shape), np.float32)
    small = cv2.resize(frame, probability.shape[::-1], interpolation=cv2.INTER_AREA)
    for channel in range(3):
        np.divide(small[..., channel], np.float32(255), out=values[channel])
    values[3] = probability
    for plane, (i, j) in enumerate(PAIRS, 4):
        np.multiply(values[i], values[j], out=values[plane])
    means = np.empty_like(values)
    average(values, means)
    coefficients = values[:4]
    for start in range(0, len(probability), ROWS):
        coefficients[:, start : start + ROWS] = _solve(*means[:, start : start + ROWS])
    average(coefficients, means[:4])

    size = frame.shape[1::-1]
    result = cv2.resize(means[3], size, interpolation=cv2.INTER_LINEAR)
    term, colour = np.empty_like(result), np.empty(frame.shape[:2], np.uint8)
    for channel in range(3):
        cv2.resize(means[channel], size, term, interpolation=cv2.INTER_LINEAR)
        cv2.extractChannel(frame, channel, colour)
        cv2.add(result, cv2.multiply(term, colour, term, 1 / 255, cv2.CV_32F), result)
    return cv2.medianBlur(np.clip(result, 0, 1, out=result), 3, term)


def _solve(r, g, b, p, rr, rg, rb, gg, gb, bb, rp, gp, bp):
    """Returns a (3 arrays) and b of each window, from the means in it of the colours, of the map and of `PAIRS`."""
    # Sigma + epsilon is a symmetric 3 x 3 matrix: its upper triangle, then that of its inverse times the determinant.
    rr, gg, bb = rr - r * r + EPSILON, gg - g * g + EPSILON, bb - b * b + EPSILON
    rg, rb, gb = rg - r * g, rb - r * b, gb - g * b
    irr, irg, irb = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    igg, igb, ibb = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    determinant = rr * irr + rg * irg + rb * irb
    rp, gp, bp = (rp - r * p) / determinant, (gp - g * p) / determinant, (bp - b * p) / determinant
    red = irr * rp + irg * gp + irb * bp
    green = irg * rp + igg * gp + igb * bp
    blue = irb * rp + igb * gp + ibb * bp
    return red, green, blue, p - red * r - green * g - blue * b
