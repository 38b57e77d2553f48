"""Augments an image and its mask on the host: random crop, zoom, flip, colour and smoke."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np

from cosnet_jax.errors import InputError

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
PADDING = (124, 116, 104)  # RGB, the mean colour of ImageNet
PASTE_SCALE = (0.4, 1.0)  # zoom of a still image whose object is pasted into a frame
SMOKE_REACH = (0.15, 0.5)  # radius of a cloud of smoke, as a fraction of the image's sides
SMOKE_COLOUR = (130, 250)  # grey levels of smoke
OCTAVES = 6  # of the noise that smoke is made of


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The strength of the augmentation.

    Attributes:
      crop: smallest fraction of each side that a crop keeps, in (0, 1].
      scale: smallest and largest zoom; a zoom below 1 shrinks and pads the image, above 1 it narrows the crop.
      flip: probability of a horizontal flip.
      colour: largest relative change of brightness, contrast and saturation; each channel changes by up to a third
        of it.
      smoke: probability of a cloud of smoke around the object, behind it or partly before it.
    """

    crop: float = 1.0
    scale: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.0
    colour: float = 0.0
    smoke: float = 0.0

    @classmethod
    def from_config(cls, config: Any) -> Augmentation:
        """Reads `config.data.augment`.

        Raises:
          InputError: a strength is out of its range.
        """
        scale, shares = tuple(config.scale), "a share, at least 0 and at most 1"
        for key, fits, expected in (
            ("crop", 0 < config.crop <= 1, "a share, above 0 and at most 1"),
            ("scale", len(scale) == 2 and 0 < scale[0] <= scale[1], "two numbers above 0, the smaller one first"),
            ("flip", 0 <= config.flip <= 1, shares),
            ("colour", 0 <= config.colour < 1, "at least 0 and below 1"),
            ("smoke", 0 <= config.smoke <= 1, shares),
        ):
            if not fits:
                raise InputError(f"config.data.augment.{key} is {config[key]}: expected {expected}")
        return cls(config.crop, scale, config.flip, config.colour, config.smoke)

    def smaller(self) -> Augmentation:
        """Returns the same without smoke, with zooms of `PASTE_SCALE`: an object fills a still image, but no scene."""
        return dataclasses.replace(self, scale=PASTE_SCALE, smoke=0.0)


def augment(
    image: np.ndarray,
    mask: np.ndarray,
    size: tuple[int, int],
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one variation and applies it to both image and mask.

    The crop is resized to `size` without keeping the aspect ratio, as whole frames are at inference.

    Args:
      image: uint8 RGB (H, W, 3).
      mask: bool or {0, 1} (H, W).
      size: (height, width) of the output.
      augmentation: strength of the variation.
      rng: source of randomness.

    Returns:
      image uint8 (h, w, 3) and mask uint8 {0, 1} (h, w).
    """
    crop = rng.uniform(augmentation.crop, 1.0, 2)
    zoom = rng.uniform(*augmentation.scale)
    place = rng.uniform(0.0, 1.0, 2)
    flip = rng.uniform() < augmentation.flip
    window = [_window(side, share / zoom, at) for side, share, at in zip(image.shape[:2], crop, place, strict=True)]
    image = _cut(image, window, size, PADDING)
    mask = _cut(mask.astype(np.uint8) * 255, window, size, (0, 0, 0)) > 127
    if flip:
        image, mask = image[:, ::-1], mask[:, ::-1]
    if augmentation.colour:
        image = vary_colour(image, augmentation.colour, rng)
    if augmentation.smoke and rng.uniform() < augmentation.smoke:
        image = add_smoke(image, mask, rng)
    return np.ascontiguousarray(image), np.ascontiguousarray(mask, np.uint8)


def paste(
    image: np.ndarray, mask: np.ndarray, donor: np.ndarray, donor_mask: np.ndarray, foreground: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Pastes the object of a donor image into an image (Ghiasi et al., Simple Copy-Paste, CVPR 2021).

    Args:
      image, donor: uint8 RGB (h, w, 3).
      mask, donor_mask: uint8 {0, 1} (h, w).
      foreground: whether the pasted object is foreground; otherwise it becomes background.

    Returns:
      image uint8 (h, w, 3) and mask uint8 {0, 1} (h, w).
    """
    pasted = np.where(donor_mask[..., None] > 0, donor, image)
    return pasted, mask | donor_mask if foreground else mask & ~donor_mask & 1


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
    """Resizes with antialiasing: an axis that shrinks is averaged over areas, one that grows is interpolated linearly.

    Args:
      image: uint8 (H, W) or (H, W, C).
      size: (height, width) of the output.

    Returns:
      uint8 (h, w) or (h, w, C).
    """
    height, width = size
    smaller = (min(width, image.shape[1]), min(height, image.shape[0]))
    if smaller != (image.shape[1], image.shape[0]):
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (width, height):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image


def vary_colour(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Changes brightness, contrast, saturation and channel gains at random, as one affine map of the colours.

    Args:
      image: uint8 RGB (h, w, 3).
      strength: largest relative change, in [0, 1).
      rng: source of randomness.

    Returns:
      uint8 RGB (h, w, 3).
    """
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3)
    gains = 1 + strength / 3 * rng.uniform(-1, 1, 3)
    matrix = saturation * np.eye(3) + (1 - saturation) * LUMA
    matrix = brightness * contrast * gains[:, None] * matrix
    mean = np.array(cv2.mean(image)[:3]) @ LUMA
    offset = np.full((3, 1), brightness * (1 - contrast) * mean)
    return cv2.transform(image, np.hstack([matrix, offset]).astype(np.float32))


def add_smoke(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Adds a cloud of smoke near the object: behind it, or in half of the cases with up to 60% of itself before it.

    Smoke, dust and spray move with what raises them, so a network takes them for a part of it.

    Args:
      image: uint8 RGB (h, w, 3).
      mask: bool (h, w), the object; without one the cloud is anywhere.
      rng: source of randomness.

    Returns:
      uint8 RGB (h, w, 3).
    """
    height, width = mask.shape
    places = np.argwhere(mask) if mask.any() else np.argwhere(~mask)
    middle = places[rng.integers(len(places))] + rng.normal(0, 0.1, 2) * (height, width)
    reach = rng.uniform(*SMOKE_REACH, 2) * (height, width)
    y, x = np.ogrid[:height, :width]
    distance = ((y - middle[0]) / reach[0]) ** 2 + ((x - middle[1]) / reach[1]) ** 2
    density = 1.2 - distance.astype(np.float32) + 0.7 * _noise((height, width), rng)
    alpha = np.clip(rng.uniform(0.7, 4.0) * density, 0, 1) * rng.uniform(0.6, 1.0)
    thin = rng.uniform(0, 0.6) * rng.integers(0, 2)  # of the cloud, what is before the object
    alpha *= 1 - (1 - thin) * cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
    shade = rng.uniform(*SMOKE_COLOUR) + rng.uniform(3, 30) * _noise((height, width), rng)
    colour = shade[..., None] + rng.uniform(-8, 8, 3).astype(np.float32)
    return (image + alpha[..., None] * (np.clip(colour, 0, 255) - image) + 0.5).astype(np.uint8)


def _noise(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Returns fractal noise (h, w) float32 of octaves of halved amplitude: of mean 0 and variance 1, about."""
    noise = np.zeros(size, np.float32)
    for octave in range(OCTAVES):
        coarse = rng.standard_normal((2 + 2**octave, 3 + 2 ** (octave + 1))).astype(np.float32)
        noise += 2.0**-octave * cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    return noise
