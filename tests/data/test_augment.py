"""Augmentation against Pillow, loops and hand-worked cases."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from cosnet_jax.data.augment import PADDING, augment, resize, vary_colour
from cosnet_jax.data.config import AugmentConfig

NONE = AugmentConfig(crop=1.0, scale=(1.0, 1.0), flip=0.0)
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
MASK = np.zeros((48, 64), bool)
MASK[10:30, 20:50] = True


def vary(image: np.ndarray, mask: np.ndarray, size: tuple[int, int], seed: int, **changes):
    return augment(image, mask, size, dataclasses.replace(NONE, **changes), np.random.default_rng(seed))


def coordinates(height: int, width: int) -> np.ndarray:
    """Makes an image whose first channel is the row and whose second channel is the column of each pixel."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, 99)], axis=-1).astype(np.uint8)


def area_weights(before: int, after: int) -> np.ndarray:
    """Returns (after, before): the share of each input pixel in each output pixel, from their overlap."""
    weights = np.zeros((after, before))
    for out in range(after):
        low, high = out * before / after, (out + 1) * before / after
        for pixel in range(before):
            weights[out, pixel] = max(0.0, min(high, pixel + 1) - max(low, pixel)) / (high - low)
    return weights


@pytest.mark.parametrize("size", [(17, 23), (20, 100), (90, 30), (96, 128)])
def test_an_axis_is_averaged_where_it_shrinks_and_interpolated_where_it_grows(size):
    between = (min(size[0], 48), min(size[1], 64))
    rows, columns = area_weights(48, between[0]), area_weights(64, between[1])
    averaged = np.einsum("yh,hwc,xw->yxc", rows, IMAGE.astype(float), columns)
    averaged = Image.fromarray(averaged.round().astype(np.uint8))
    expected = np.asarray(averaged.resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    # Both sides round twice, by half a level at most, and the enlarging has fixed-point weights.
    assert np.abs(resize(IMAGE, size) - expected).max() <= 2


def test_masks_stay_binary_and_aligned_with_the_image():
    image, mask = vary(IMAGE, MASK, (48, 64), 0)
    assert np.array_equal(image, IMAGE) and np.array_equal(mask, MASK) and image.dtype == mask.dtype == np.uint8
    image = np.where(MASK, 255, 0).astype(np.uint8)[..., None].repeat(3, axis=2)
    for seed in range(50):
        varied, mask = vary(image, MASK, (33, 45), seed, crop=0.5, scale=(0.7, 1.5), flip=0.5)
        assert varied.shape == (33, 45, 3) and mask.shape == (33, 45) and set(np.unique(mask)) <= {0, 1}
        outside = (varied == np.array(PADDING)).all(axis=2)  # padding is neither black nor white
        assert np.array_equal(mask[~outside], varied[..., 0][~outside] > 127)
        assert not mask[outside].any()


def test_flips_have_the_configured_frequency():
    image = coordinates(48, 64)
    flips = [vary(image, MASK, (48, 64), seed, flip=0.25)[0][0, 0, 1] == 63 for seed in range(800)]
    assert abs(np.mean(flips) - 0.25) < 4 * 0.0153  # four standard deviations
    flipped, mask = vary(image, MASK, (48, 64), 0, flip=1.0)
    assert np.array_equal(flipped, image[:, ::-1]) and np.array_equal(mask, MASK[:, ::-1])


def test_crops_keep_the_configured_share_and_reach_every_border():
    image, empty, share = coordinates(200, 100), np.zeros((200, 100), bool), 0.8
    windows = []
    for seed in range(300):
        varied, _ = vary(image, empty, (50, 50), seed, crop=share)
        rows, columns = varied[:, 0, 0].astype(int), varied[0, :, 1].astype(int)
        assert (np.diff(rows) > 0).all() and (np.diff(columns) > 0).all()
        # The first and the last output pixel average part of the crop: tolerate half of it at both ends.
        windows.append((rows[0], rows[-1], columns[0], columns[-1]))
    top, bottom, left, right = np.array(windows).T
    assert (bottom - top).min() >= share * 200 - 6 and (right - left).min() >= share * 100 - 4
    assert top.min() <= 2 and bottom.max() >= 197 and left.min() <= 1 and right.max() >= 98
    assert top.max() > 15 and left.max() > 7 and (bottom - top).max() >= 194
    assert np.abs(np.corrcoef(bottom - top, right - left)[0, 1]) < 0.25  # the sides are cropped independently


def test_zooming_in_narrows_the_crop_and_zooming_out_pads():
    varied, _ = vary(coordinates(200, 200), np.zeros((200, 200), bool), (50, 50), 3, scale=(2.0, 2.0))
    assert abs(np.ptp(varied[:, 0, 0].astype(int)) - 98) <= 2 and abs(np.ptp(varied[0, :, 1].astype(int)) - 98) <= 2
    for seed in range(20):
        varied, mask = vary(
            np.full((60, 60, 3), 255, np.uint8), np.ones((60, 60), bool), (60, 60), seed, scale=(0.5,) * 2
        )
        rows, columns = np.nonzero(mask)
        assert mask.sum() == 30 * 30 and np.ptp(rows) == np.ptp(columns) == 29
        assert (varied[mask == 0] == PADDING).all() and (varied[mask == 1] == 255).all()


def test_colour_changes_are_an_affine_map():
    strength = 0.4
    varied = vary_colour(IMAGE, strength, np.random.default_rng(5)).astype(float)
    rng = np.random.default_rng(5)
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3)
    gains = 1 + strength / 3 * rng.uniform(-1, 1, 3)
    luma = np.array([0.299, 0.587, 0.114])
    mean = (IMAGE.reshape(-1, 3).mean(axis=0) * luma).sum()
    for y, x in ((0, 0), (17, 40), (47, 63), (20, 3)):
        pixel = IMAGE[y, x].astype(float)
        grey = (pixel * luma).sum()
        saturated = gains * (saturation * pixel + (1 - saturation) * grey)
        expected = brightness * (contrast * saturated + (1 - contrast) * mean)
        # Rounded to a whole number after float32 sums of values up to a few hundred.
        assert np.abs(varied[y, x] - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2)])
def test_tiny_and_odd_images(shape):
    image = np.full((*shape, 3), 7, np.uint8)
    for seed in range(20):
        varied, mask = vary(image, np.ones(shape, bool), (5, 7), seed, crop=0.3, scale=(0.5, 2.0), flip=0.5, colour=0.3)
        assert varied.shape == (5, 7, 3) and mask.shape == (5, 7)
