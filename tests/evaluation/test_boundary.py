"""Contour accuracy against loops over pixels, written from the definition."""

import math

import numpy as np
import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.boundary import boundary_f, boundary_map, boundary_radius


def boundary_pixels(mask):
    height, width = mask.shape
    mask = mask.tolist()
    pixels = []
    for y in range(height):
        for x in range(width):
            neighbours = []
            if x + 1 < width:
                neighbours.append(mask[y][x + 1])
            if y + 1 < height:
                neighbours.append(mask[y + 1][x])
            if x + 1 < width and y + 1 < height:
                neighbours.append(mask[y + 1][x + 1])
            if any(neighbour != mask[y][x] for neighbour in neighbours):
                pixels.append((y, x))
    return pixels


def loop_f(prediction, truth, radius):
    found, wanted = boundary_pixels(prediction), boundary_pixels(truth)
    if not found and not wanted:
        return 1.0
    if not found or not wanted:
        return 0.0

    def share(pixels, others):
        near = sum(any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in others) for y, x in pixels)
        return near / len(pixels)

    precision, recall = share(found, wanted), share(wanted, found)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def random_masks(rng, shape):
    """A mask and a distorted copy: blobs, noise, rectangles at the border, one pixel, or nothing."""
    height, width = shape
    kind = rng.integers(6)
    if kind == 0:
        masks = rng.random((2, *shape)) < rng.choice([0.0, 0.02, 0.5, 1.0], size=(2, 1, 1))
    elif kind == 1:
        masks = np.zeros((2, *shape), bool)
        for mask in masks:
            mask[rng.integers(height), rng.integers(width)] = True
    else:
        masks = np.zeros((2, *shape), bool)
        y, x = np.sort(rng.integers(0, height + 1, 2)), np.sort(rng.integers(0, width + 1, 2))
        masks[0, slice(*y), slice(*x)] = True
        masks[1, slice(*np.clip(y + rng.integers(-3, 4), 0, height)), slice(*x)] = True
        if kind == 2:
            masks ^= rng.random((2, *shape)) < 0.02
        if kind == 3:
            masks = ~masks
    return masks


def test_equals_loops_on_random_masks():
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(400):
        shape = tuple(rng.integers(1, 26, size=2))
        prediction, truth = random_masks(rng, shape)
        radius = int(rng.integers(1, 6))
        value = boundary_f(prediction, truth, tolerance=radius)
        assert value == pytest.approx(loop_f(prediction, truth, radius), abs=1e-12)
        seen.add(0 if value == 0 else 1 if value == 1 else 0.5)
    assert seen == {0, 0.5, 1}


def test_default_tolerance_follows_the_image():
    rng = np.random.default_rng(2)
    masks = np.zeros((2, 130, 150), bool)
    masks[0, 40:80, 30:90] = True
    masks[1, 42:83, 31:88] = True
    masks ^= rng.random(masks.shape) < 0.001
    radius = math.ceil(0.008 * math.hypot(130, 150))
    assert radius == 2
    assert boundary_f(*masks) == pytest.approx(loop_f(*masks, radius), abs=1e-12)


def test_radius():
    assert boundary_radius((480, 854)) == 8
    assert boundary_radius((480, 854), 3) == 3
    assert boundary_radius((1080, 1920)) == 18


def test_boundary_map_equals_loops():
    rng = np.random.default_rng(3)
    for _ in range(100):
        mask = rng.random(tuple(rng.integers(1, 12, size=2))) < 0.6
        assert list(map(tuple, np.argwhere(boundary_map(mask)))) == boundary_pixels(mask)


def test_last_corner_is_never_boundary():
    mask = np.zeros((5, 6), bool)
    mask[-1, -1] = True
    assert [tuple(pixel) for pixel in np.argwhere(boundary_map(mask))] == [(3, 4), (3, 5), (4, 4)]


def test_empty_and_full_masks():
    empty, full = np.zeros((30, 40), bool), np.ones((30, 40), bool)
    some = empty.copy()
    some[10:20, 10:20] = True
    assert boundary_f(empty, empty) == boundary_f(full, full) == boundary_f(empty, full) == 1.0  # none has a boundary
    assert boundary_f(empty, some) == boundary_f(some, full) == 0.0


def test_matching_distance_is_a_disk():
    # Two one-pixel masks, 3 rows and 4 columns apart: their boundaries are 5 pixels apart.
    prediction, truth = np.zeros((2, 30, 30), bool)
    prediction[10, 10] = truth[13, 14] = True
    assert boundary_f(prediction, truth, 5) == 1.0
    nearest = math.hypot(3 - 1, 4 - 1)  # between the outermost of their 2 x 2 boundary pixels
    assert 0 < boundary_f(prediction, truth, 4) < 1
    assert boundary_f(prediction, truth, math.floor(nearest)) == 0.0


def test_other_size_is_an_error():
    with pytest.raises(InputError, match="one size"):
        boundary_f(np.zeros((4, 5)), np.zeros((5, 4)))
