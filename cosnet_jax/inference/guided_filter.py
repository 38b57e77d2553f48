"""Enlarges maps along the edges of the frame: the guided filter in colour (He, Sun and Tang, PAMI 2013)."""

from __future__ import annotations

import cv2
import numpy as np

from cosnet_jax.inference.resize import resize_output

EPSILON = 3e-4  # variance of colours, in [0, 1]^2, below which a window counts as flat


def enlarge(probability: np.ndarray, frame: np.ndarray, radius: int) -> np.ndarray:
    """Resizes a map (h, w) to its frame (H, W, 3), by the guided filter where the radius is not 0, else bilinearly."""
    return enlarge_guided(probability, frame, radius) if radius else resize_output(probability, frame.shape[:2])


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

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)

    size = probability.shape[::-1]
    colours = cv2.split(cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255)
    red, green, blue = (mean(channel) for channel in colours)
    means, mean_map = (red, green, blue), mean(probability)
    # Sigma + epsilon is a symmetric 3 x 3 matrix in each window: its upper triangle, and that of its inverse.
    rr, rg, rb, gg, gb, bb = (
        mean(colours[i] * colours[j]) - means[i] * means[j] + EPSILON * (i == j)
        for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    )
    inverse = {
        (0, 0): gg * bb - gb * gb, (0, 1): gb * rb - rg * bb, (0, 2): rg * gb - gg * rb,
        (1, 1): rr * bb - rb * rb, (1, 2): rb * rg - rr * gb, (2, 2): rr * gg - rg * rg,
    }  # fmt: skip
    determinant = rr * inverse[0, 0] + rg * inverse[0, 1] + rb * inverse[0, 2]
    shared = [(mean(colours[i] * probability) - means[i] * mean_map) / determinant for i in range(3)]
    slopes = [sum(inverse[min(i, j), max(i, j)] * shared[j] for j in range(3)) for i in range(3)]
    offset = mean_map - slopes[0] * red - slopes[1] * green - slopes[2] * blue

    size = frame.shape[1::-1]
    result = cv2.resize(mean(offset), size, interpolation=cv2.INTER_LINEAR)
    term, channel = np.empty_like(result), np.empty(frame.shape[:2], np.uint8)  # large arrays are slow to come by
    for number, slope in enumerate(slopes):
        cv2.resize(mean(slope), size, term, interpolation=cv2.INTER_LINEAR)
        cv2.extractChannel(frame, number, channel)
        cv2.add(result, cv2.multiply(term, channel, term, 1 / 255, cv2.CV_32F), result)
    return cv2.medianBlur(np.clip(result, 0, 1, out=result), 3, term)
