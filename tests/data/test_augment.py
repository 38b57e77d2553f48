"""Augmentation against Pillow, loops and hand-worked cases."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from cosnet_jax.data.augment import PADDING, augment, resize, vary_colour
from cosnet_jax.data.config import AugmentConfig

NONE = AugmentConfig(crop=1.0, scale=(1.0, 1.0), flip=0.0)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (48, 64, 3), np.uint8)
MASK = np.zeros((48, 64), bool)
MASK[10:30, 20:50] = True
EMPTY = np.zeros((200, 200), bool)


def coordinates(height: int, width: int) -> np.ndarray:
    """Makes an image whose first channel is the row and whose second channel is the column of each pixel."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, 99)], axis=-1).astype(np.uint8)


def test_no_variation_at_the_same_size_changes_nothing():
    image, mask = augment(IMAGE, MASK, (48, 64), NONE, np.random.default_rng(0))
    assert np.array_equal(image, IMAGE) and np.array_equal(mask, MASK)
    assert image.dtype == mask.dtype == np.uint8


def area_weights(before: int, after: int) -> np.ndarray:
    """Returns (after, before): the share of each input pixel in each output pixel, from their overlap."""
    weights = np.zeros((after, before))
    for out in range(after):
        low, high = out * before / after, (out + 1) * before / after
        for pixel in range(before):
            weights[out, pixel] = max(0.0, min(high, pixel + 1) - max(low, pixel)) / (high - low)
    return weights


@pytest.mark.parametrize("size", [(12, 16), (17, 23), (20, 100), (90, 30), (96, 128), (48, 20), (47, 63)])
def test_an_axis_is_averaged_where_it_shrinks_and_interpolated_where_it_grows(size):
    between = (min(size[0], 48), min(size[1], 64))
    rows, columns = area_weights(48, between[0]), area_weights(64, between[1])
    averaged = np.einsum("yh,hwc,xw->yxc", rows, IMAGE.astype(float), columns)
    averaged = Image.fromarray(averaged.round().astype(np.uint8))
    expected = np.asarray(averaged.resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    # Both sides round twice, by half a level at most, and the enlarging has fixed-point weights.
    assert np.abs(resize(IMAGE, size) - expected).max() <= 2


def test_masks_stay_binary_and_aligned_with_the_image():
    image = np.where(MASK, 255, 0).astype(np.uint8)[..., None].repeat(3, axis=2)
    strong = dataclasses.replace(NONE, crop=0.5, scale=(0.7, 1.5), flip=0.5)
    for seed in range(50):
        varied, mask = augment(image, MASK, (33, 45), strong, np.random.default_rng(seed))
        assert varied.shape == (33, 45, 3) and mask.shape == (33, 45)
        assert set(np.unique(mask)) <= {0, 1}
        inside = (varied == np.array(PADDING)).all(axis=2)  # padding is neither black nor white
        assert np.array_equal(mask[~inside], varied[..., 0][~inside] > 127)
        assert not mask[inside].any()


def test_flips_have_the_configured_frequency():
    image, quarter = coordinates(48, 64), dataclasses.replace(NONE, flip=0.25)
    flips = [
        augment(image, MASK, (48, 64), quarter, np.random.default_rng(seed))[0][0, 0, 1] == 63 for seed in range(800)
    ]
    assert 0.25 - 4 * 0.0153 < np.mean(flips) < 0.25 + 4 * 0.0153  # four standard deviations
    flipped, mask = augment(image, MASK, (48, 64), dataclasses.replace(NONE, flip=1.0), np.random.default_rng(0))
    assert np.array_equal(flipped, image[:, ::-1]) and np.array_equal(mask, MASK[:, ::-1])


def test_crops_keep_the_configured_share_and_reach_every_border():
    image, share = coordinates(200, 100), 0.8
    windows = []
    for seed in range(300):
        varied, _ = augment(
            image,
            EMPTY[:, :100],
            (50, 50),
            dataclasses.replace(NONE, crop=share),
            np.random.default_rng(seed),
        )
        rows, columns = varied[:, 0, 0].astype(int), varied[0, :, 1].astype(int)
        assert (np.diff(rows) > 0).all() and (np.diff(columns) > 0).all()
        # The first and the last output pixel average part of the crop: tolerate half of it at both ends.
        windows.append((rows[0], rows[-1], columns[0], columns[-1]))
    top, bottom, left, right = np.array(windows).T
    assert (bottom - top).min() >= share * 200 - 6 and (right - left).min() >= share * 100 - 4
    assert top.min() <= 2 and bottom.max() >= 197 and left.min() <= 1 and right.max() >= 98
    assert top.max() > 15 and left.max() > 7 and (bottom - top).max() >= 194
    assert np.abs(np.corrcoef(bottom - top, right - left)[0, 1]) < 0.25  # the sides are cropped independently


def test_zooming_in_narrows_the_crop():
    image = coordinates(200, 200)
    varied, _ = augment(
        image,
        EMPTY,
        (50, 50),
        dataclasses.replace(NONE, scale=(2.0, 2.0)),
        np.random.default_rng(3),
    )
    assert abs(int(varied[-1, 0, 0]) - int(varied[0, 0, 0]) - 98) <= 2
    assert abs(int(varied[0, -1, 1]) - int(varied[0, 0, 1]) - 98) <= 2


def test_zooming_out_pads_and_keeps_the_whole_image():
    image = np.full((60, 60, 3), 255, np.uint8)
    mask = np.ones((60, 60), bool)
    for seed in range(20):
        varied, varied_mask = augment(
            image, mask, (60, 60), dataclasses.replace(NONE, scale=(0.5, 0.5)), np.random.default_rng(seed)
        )
        assert varied_mask.sum() == 30 * 30
        rows, columns = np.nonzero(varied_mask)
        assert rows.max() - rows.min() == columns.max() - columns.min() == 29
        assert (varied[varied_mask == 0] == PADDING).all() and (varied[varied_mask == 1] == 255).all()


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


def test_tiny_and_odd_images():
    for shape in ((1, 1), (1, 9), (3, 2)):
        image = np.full((*shape, 3), 7, np.uint8)
        strong = dataclasses.replace(NONE, crop=0.3, scale=(0.5, 2.0), flip=0.5, colour=0.3)
        for seed in range(20):
            varied, mask = augment(image, np.ones(shape, bool), (5, 7), strong, np.random.default_rng(seed))
            assert varied.shape == (5, 7, 3) and mask.shape == (5, 7)
