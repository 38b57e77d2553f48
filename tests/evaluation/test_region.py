"""Region similarity against counting pixel by pixel."""

import numpy as np
import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.region import jaccard


def count_jaccard(prediction, truth):
    intersection = union = 0
    for a, b in zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True):
        intersection += a and b
        union += a or b
    return intersection / union if union else 1.0


def test_equals_counting_on_random_masks():
    rng = np.random.default_rng(0)
    for _ in range(300):
        shape = rng.integers(1, 30, size=2)
        prediction, truth = rng.random((2, *shape)) < rng.choice([0.0, 0.05, 0.5, 0.95, 1.0], size=(2, 1, 1))
        # Both divide the same two whole numbers.
        assert jaccard(prediction, truth) == count_jaccard(prediction, truth)


def test_hand_worked():
    prediction = np.array([[1, 1, 0], [0, 1, 0]])
    truth = np.array([[1, 0, 0], [0, 1, 1]])
    assert jaccard(prediction, truth) == 2 / 4


def test_empty_masks():
    empty, pixel = np.zeros((4, 5), bool), np.eye(4, 5, dtype=bool)
    assert jaccard(empty, empty) == 1.0
    assert jaccard(empty, pixel) == jaccard(pixel, empty) == 0.0


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float32])
def test_every_type_of_mask_counts_alike(kind):
    mask = np.array([[1, 0], [1, 1]], dtype=kind)
    assert jaccard(mask, mask.astype(bool)) == 1.0


@pytest.mark.parametrize("shape", [(3, 5), (5, 4), (4, 5, 1), (20,)])
def test_other_size_is_an_error(shape):
    with pytest.raises(InputError, match="one size"):
        jaccard(np.zeros(shape), np.zeros((4, 5)))
