"""Scales RGB values of 0-255 to the range that a pretrained backbone expects."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array
SCHEMES = ("imagenet", "bgr", "unit")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RELEASED_BGR_MEAN = (104.00699, 116.66877, 122.67892)


def scale_input(images: Array, scheme: str) -> Array:
    """Scales images for the backbone.

    Args:
      images: (..., 3) RGB, 0 to 255, uint8 or float.
      scheme: "imagenet" (torchvision: RGB minus ImageNet's mean, over its standard deviation), "bgr" (the release: BGR
        minus a mean) or "unit" (MobileNet: RGB in [-1, 1]).

    Returns:
      (..., 3) float32.

    Raises:
      ValueError: for another scheme.
    """
    images = images.astype(jnp.float32)
    if scheme == "imagenet":
        return (images / 255 - jnp.array(IMAGENET_MEAN)) / jnp.array(IMAGENET_STD)
    if scheme == "bgr":
        return images[..., ::-1] - jnp.array(RELEASED_BGR_MEAN)
    if scheme == "unit":
        return images / 127.5 - 1
    raise ValueError(f"input scaling is {scheme!r}; expected one of {', '.join(SCHEMES)}")
