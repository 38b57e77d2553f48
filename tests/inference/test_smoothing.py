"""The smoothing of maps along the video against loops over frames and pixels, and in the engine."""

from __future__ import annotations

import math
import threading

import cv2
import numpy as np
import pytest
from tiny_network import random_variables, tiny_network

from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.inference.smoothing import COLOUR_DEVIATION, REACH, smooth

HEIGHT, WIDTH = 3, 4


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def items(numbers, frames, maps):
    return ((number, frame, list(ways)) for number, frame, ways in zip(numbers, frames, maps, strict=True))


def smoothed(numbers, frames, maps, deviations):
    result = list(smooth(items(numbers, frames, maps), deviations))
    assert [number for number, *_ in result] == numbers
    np.testing.assert_array_equal([frame for _, frame, _ in result], frames)
    return np.array([ways for *_, ways in result])


def test_it_is_the_weighted_mean_over_near_frames_of_near_colours(rng):
    numbers = [0, 1, 2, 3, 5, 9, 10]  # chosen frames need not follow each other
    frames = rng.integers(100, 160, (7, HEIGHT, WIDTH, 3)).astype(np.uint8)
    maps = rng.uniform(size=(7, 2, HEIGHT, WIDTH)).astype(np.float32)
    given = smoothed(numbers, frames, maps, [0.8, 1.7])
    frames = np.stack([cv2.blur(frame, (3, 3)) for frame in frames])
    for way, deviation in enumerate([0.8, 1.7]):
        for t, number in enumerate(numbers):
            for y in range(HEIGHT):
                for x in range(WIDTH):
                    total = weights = 0.0
                    for u, other in enumerate(numbers):
                        if abs(number - other) > math.ceil(REACH * deviation):
                            continue
                        colour = np.sum((frames[t, y, x].astype(float) - frames[u, y, x]) ** 2) / COLOUR_DEVIATION**2
                        weight = math.exp(-0.5 * (((number - other) / deviation) ** 2 + colour))
                        total, weights = total + weight * maps[u, way, y, x], weights + weight
                    assert given[t, way, y, x] == pytest.approx(total / weights, abs=1e-6)


def test_a_flash_of_the_map_goes_and_a_thing_that_moves_stays(rng):
    frames = np.full((9, 20, 20, 3), 120, np.uint8)
    maps = np.zeros((9, 1, 20, 20), np.float32)
    maps[4, 0, :, :4] = 0.9  # the picture there does not change
    for t in range(9):
        frames[t, 8:16, 2 * t : 2 * t + 4] = 250
        maps[t, 0, 8:16, 2 * t : 2 * t + 4] = 1
    given = smoothed(list(range(9)), frames, maps, [2.0])
    assert (maps[4, 0, :8, :4] > 0.5).all() and not (given[4, 0, :8, :4] > 0.5).any()
    for t in range(9):
        assert (given[t, 0, 8:16, 2 * t : 2 * t + 4] > 0.5).all()


@pytest.fixture(scope="module")
def network():
    model = tiny_network()
    return model, random_variables(model)


def test_the_engine_smooths_each_option_by_itself_and_leaves_no_thread(network):
    video = np.random.default_rng(0).integers(0, 256, (6, 32, 40, 3)).astype(np.uint8)
    alone, plain = (
        Segmenter(*network, InferenceConfig(2, temporal_smoothing=s, edge_radius=0), size=(32, 40)) for s in (1.0, 0.0)
    )
    maps = [[map_] for map_ in plain(video)]
    expected = [ways[0] for *_, ways in smooth(items(range(6), video, maps), [1.0])]
    np.testing.assert_allclose(alone(video), expected, atol=1e-6)
    both = [ways for *_, ways in plain.predict(video, [alone.config, plain.config])]
    np.testing.assert_allclose(both, list(zip(expected, plain(video), strict=True)), atol=1e-6)
    before = set(threading.enumerate())
    stream = alone.predict(video)
    next(stream)
    stream.close()
    assert set(threading.enumerate()) <= before
