"""Online segmentation: earlier frames only, each encoded once, references that thin with age."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_network import random_variables, tiny_network

from cosnet_jax.errors import InputError
from cosnet_jax.inference.online import choose_forgotten
from cosnet_jax.inference.segmenter import Segmenter

SIZE = (32, 40)


@pytest.fixture(scope="module")
def network():
    model = tiny_network()
    return model, random_variables(model)


@pytest.fixture(scope="module")
def video():
    return np.random.default_rng(0).integers(0, 256, (12, 50, 61, 3)).astype(np.uint8)


def remembered(count, frames):
    """Numbers of the references that each frame has, by the rule alone."""
    numbers, seen = [], []
    for number in range(frames):
        seen.append(list(numbers) or [number])
        numbers.append(number)
        if len(numbers) > count:
            numbers.remove(choose_forgotten(numbers))
    return seen


@pytest.mark.parametrize("count", [1, 3])
def test_maps_are_those_of_the_remembered_references(network, video, count):
    segmenter = Segmenter(*network, size=SIZE)
    online = segmenter.online(count)
    for number, references in enumerate(remembered(count, len(video))):
        expected = next(
            segmenter.predict(video, queries=[number], references=np.resize(references, count).tolist())
        ).probabilities[0]
        np.testing.assert_allclose(online.push(video[number]), expected, atol=2e-6)


def test_later_frames_change_nothing_and_smoothing_looks_back(network, video):
    segmenter = Segmenter(*network, size=SIZE, temporal_smoothing=1.5)
    whole, part = segmenter.online(2), segmenter.online(2)
    given = [whole.push(frame) for frame in video]
    np.testing.assert_array_equal(given[:5], [part.push(frame) for frame in video[:5]])
    still = Segmenter(*network, size=SIZE, temporal_smoothing=1.5).online(1)
    first = still.push(video[0])
    np.testing.assert_allclose(still.push(video[0]), first, atol=2e-6)  # equal maps, equal average


@pytest.mark.parametrize("count", [5, 8])
def test_ages_are_spread_over_the_whole_video(count):
    references = remembered(count, 3000)[-1]
    ages = [2999 - number for number in references]
    assert len(references) == count and references[0] == 0 and ages[-1] == 1
    ratios = np.array(ages[:-1]) / ages[1:]
    assert ratios.max() < 12 * 3000 ** (1 / (count - 1)) / 3  # within four of an even spread


def test_a_frame_of_another_size_is_named(network, video):
    online = Segmenter(*network, size=SIZE).online(1)
    online.push(video[0])
    with pytest.raises(InputError, match=r"frame 1 is \(40, 61, 3\) uint8; expected \(50, 61, 3\)"):
        online.push(video[1][:40])
