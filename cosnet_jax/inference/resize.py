"""Resizing before and after the network.

Frames are resized on the device, bitwise identical to Pillow's antialiased bilinear resize of 8-bit images. Maps are
resized in main memory, where they go next.
"""

from __future__ import annotations

import functools
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
FRACTION_BITS = 22  # of Pillow's fixed-point weights


@functools.cache
def filter_taps(size_in: int, size_out: int) -> tuple[np.ndarray, np.ndarray]:
    """The input pixels that each output pixel is made of, along one axis, and their shares.

    A triangle filter (half-pixel centres) that widens by size_in / size_out when shrinking, its weights summing to 1.

    Args:
      size_in, size_out: pixels.

    Returns:
      Indices (size_out, taps) int32 and weights (size_out, taps) int32 in units of 2^-22.
    """
    scale = size_in / size_out
    support = max(scale, 1.0)
    centre = ((np.arange(size_out) + 0.5) * scale)[:, None]
    first = np.maximum((centre - support + 0.5).astype(int), 0)
    pixels = first + np.arange(2 * int(np.ceil(support)) + 1)
    weights = np.maximum(1 - np.abs((pixels - centre + 0.5) / support), 0) * (pixels < size_in)
    weights /= weights.sum(axis=1, keepdims=True)
    fixed = np.floor(weights * 2**FRACTION_BITS + 0.5)
    return np.minimum(pixels, size_in - 1).astype(np.int32), fixed.astype(np.int32)


def match_orientation(size: tuple[int, int], frame_size: tuple[int, int]) -> tuple[int, int]:
    """The size (height, width) of the network's input, its longer side along the longer side of the frames."""
    (height, width), (frame_height, frame_width) = size, frame_size
    return (width, height) if (height - width) * (frame_height - frame_width) < 0 else (height, width)


def resize_antialiased(images: Array, size: tuple[int, int]) -> Array:
    """Resizes as Pillow does, one axis after the other, each pass in fixed point and rounded to 8 bits.

    The width comes first, except where it grows and the height shrinks (as in Pillow 13; older versions differ there by
    one grey level at most).

    Args:
      images: (n, h, w, c) uint8.
      size: (height, width) of the result.

    Returns:
      (n, *size, c) uint8.
    """
    height, width = images.shape[1:3]
    passes = [(2, size[1]), (1, size[0])]
    for axis, length in passes[::-1] if size[1] > width and size[0] < height else passes:
        if images.shape[axis] == length:
            continue
        pixels, weights = filter_taps(images.shape[axis], length)
        total: Any = 1 << (FRACTION_BITS - 1)  # one half
        for tap in range(pixels.shape[1]):
            shares = np.expand_dims(weights[:, tap], tuple(range(1, 4 - axis)))
            total = total + jnp.take(images, pixels[:, tap], axis=axis).astype(jnp.int32) * shares
        images = (total >> FRACTION_BITS).clip(0, 255).astype(jnp.uint8)
    return images


def resize_output(probability: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a map (h, w) to (*size) as `resize_bilinear` does: half-pixel centres and no antialiasing."""
    return cv2.resize(probability, size[::-1], interpolation=cv2.INTER_LINEAR)
