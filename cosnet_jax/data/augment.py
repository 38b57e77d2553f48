"""Augments an image and its mask on the host: random crop, zoom, flip and colour."""

from __future__ import annotations

import cv2
import numpy as np

from cosnet_jax.data.config import AugmentConfig

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
PADDING = (124, 116, 104)  # RGB, the mean colour of ImageNet


def augment(
    image: np.ndarray, mask: np.ndarray, size: tuple[int, int], augmentation: AugmentConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one variation and applies it to both image and mask.

    The crop is resized to `size` without keeping the aspect ratio, as whole frames are at inference.

    Args:
      image: uint8 RGB (H, W, 3).
      mask: bool (H, W), or a soft mask, uint8 (H, W): 255 times the probability of foreground.
      size: (height, width) of the output.
      augmentation: strength of the variation.
      rng: source of randomness.

    Returns:
      image uint8 (h, w, 3), and the mask (h, w): uint8 {0, 1}, or of a soft mask float16 in [0, 1].
    """
    crop = rng.uniform(augmentation.crop, 1.0, 2)
    zoom = rng.uniform(*augmentation.scale)
    place = rng.uniform(0.0, 1.0, 2)
    flip = rng.uniform() < augmentation.flip
    window = [_window(side, share / zoom, at) for side, share, at in zip(image.shape[:2], crop, place, strict=True)]
    image = _cut(image, window, size, PADDING)
    if mask.dtype == bool:
        mask = (_cut(mask.astype(np.uint8) * 255, window, size, (0, 0, 0)) > 127).astype(np.uint8)
    else:
        mask = (_cut(mask, window, size, (0, 0, 0)) / np.float32(255)).astype(np.float16)
    if flip:
        image, mask = image[:, ::-1], mask[:, ::-1]
    if augmentation.colour:
        image = vary_colour(image, augmentation.colour, rng)
    return np.ascontiguousarray(image), np.ascontiguousarray(mask)


def _window(side: int, share: float, at: float) -> tuple[int, int]:
    """Returns start and length, in pixels, of a window over a side; a share above 1 reaches beyond the image."""
    length = max(1, round(side * share))
    return round((side - length) * at), length


def _cut(image: np.ndarray, window: list[tuple[int, int]], size: tuple[int, int], padding: tuple) -> np.ndarray:
    """Cuts a window and resizes it to `size`; pads the part outside the image."""
    inside, target = [], []
    for (start, length), side, out in zip(window, image.shape[:2], size, strict=True):
        first, last = max(start, 0), min(start + length, side)
        inside.append(slice(first, last))
        begin = min(round((first - start) / length * out), out - 1)
        target.append(slice(begin, max(round((last - start) / length * out), begin + 1)))
    height, width = (part.stop - part.start for part in target)
    part = resize(image[inside[0], inside[1]], (height, width))
    if (height, width) == tuple(size):
        return part
    bottom, right = size[0] - target[0].stop, size[1] - target[1].stop
    return cv2.copyMakeBorder(part, target[0].start, bottom, target[1].start, right, cv2.BORDER_CONSTANT, value=padding)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes uint8 (H, W) or (H, W, C) to `size`, (height, width), with antialiasing.

    An axis that shrinks is averaged over areas, one that grows is interpolated linearly.
    """
    height, width = size
    smaller = (min(width, image.shape[1]), min(height, image.shape[0]))
    if smaller != (image.shape[1], image.shape[0]):
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (width, height):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image


def vary_colour(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Changes brightness, contrast, saturation and channel gains of an image at random, as one affine map of colours.

    `strength` is the largest relative change, in [0, 1).
    """
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3)
    gains = 1 + strength / 3 * rng.uniform(-1, 1, 3)
    matrix = saturation * np.eye(3) + (1 - saturation) * LUMA
    matrix = brightness * contrast * gains[:, None] * matrix
    mean = np.array(cv2.mean(image)[:3]) @ LUMA
    offset = np.full((3, 1), brightness * (1 - contrast) * mean)
    return cv2.transform(image, np.hstack([matrix, offset]).astype(np.float32))
