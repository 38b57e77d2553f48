"""Masks over frames: which pixels change, and to what."""

import numpy as np
import pytest

from cosnet_jax.visualization.overlays import (
    GAP,
    OPACITY,
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    overlay,
    prediction_beside_truth,
)

FRAME = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
MASK = np.zeros((20, 30), bool)
MASK[5:15, 8:22] = True


def test_tint_is_a_weighted_mean_inside_an_opaque_contour():
    before = FRAME.copy()
    picture = overlay(FRAME, MASK, (200, 100, 0))
    border = MASK.copy()
    border[6:14, 9:21] = False
    tint = np.rint((1 - OPACITY) * FRAME + OPACITY * np.array([200, 100, 0]))
    expected = np.where(MASK[..., None], tint, FRAME)
    expected[border] = [200, 100, 0]
    np.testing.assert_array_equal(picture, expected)
    np.testing.assert_array_equal(FRAME, before)


@pytest.mark.parametrize("mask", [np.zeros((20, 30)), np.zeros((20, 30), np.uint8)])
def test_empty_mask_changes_nothing(mask):
    np.testing.assert_array_equal(overlay(FRAME, mask), FRAME)


def test_prediction_beside_truth():
    together = prediction_beside_truth(FRAME, MASK, ~MASK)
    assert together.shape == (20, 30 + GAP + 30, 3)
    np.testing.assert_array_equal(together[:, :30], overlay(FRAME, MASK, PREDICTION_COLOUR))
    assert (together[:, 30 : 30 + GAP] == 255).all()
    np.testing.assert_array_equal(together[:, 30 + GAP :], overlay(FRAME, ~MASK, TRUTH_COLOUR))
    np.testing.assert_array_equal(prediction_beside_truth(FRAME, MASK, None), overlay(FRAME, MASK))
