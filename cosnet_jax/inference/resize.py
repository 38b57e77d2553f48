"""Pillow's antialiased bilinear resize of 8-bit images, on the device."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


@functools.cache
def resize_weights(size_in: int, size_out: int) -> np.ndarray:
    """The share of every input pixel in every output pixel along one axis.

    A triangle filter (half-pixel centres) that widens by size_in / size_out when shrinking, its weights normalised to 1.

    Args:
      size_in, size_out: pixels.

    Returns:
      (size_out, size_in) float32.
    """
    scale = size_in / size_out
    support = max(scale, 1.0)
    centre = (np.arange(size_out) + 0.5) * scale
    distance = np.abs(np.arange(size_in) + 0.5 - centre[:, None]) / support
    weights = np.maximum(1 - distance, 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def resize_antialiased(images: Array, size: tuple[int, int]) -> Array:
    """Resizes as Pillow does: columns first, then rows, each pass rounded to 8 bits.

    Args:
      images: (n, h, w, c) uint8.
      size: (height, width) of the result.

    Returns:
      (n, *size, c) uint8.
    """

    def rounded(values):
        return jnp.clip(jnp.floor(values + 0.5), 0, 255)

    (height, width), images = images.shape[1:3], images.astype(jnp.float32)
    if width != size[1]:
        weights = resize_weights(width, size[1])
        images = rounded(jnp.einsum("nhwc,vw->nhvc", images, weights, precision="highest"))
    if height != size[0]:
        weights = resize_weights(height, size[0])
        images = rounded(jnp.einsum("nhwc,uh->nuwc", images, weights, precision="highest"))
    return images.astype(jnp.uint8)
