"""Masks over frames: which pixels change, and to what."""

import numpy as np
import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.visualization.overlays import PREDICTION_COLOUR, TRUTH_COLOUR, comparison, overlay, side_by_side

FRAME = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
MASK = np.zeros((20, 30), bool)
MASK[5:15, 8:22] = True


def test_tint_is_a_weighted_mean():
    before = FRAME.copy()
    drawn = overlay(FRAME, MASK, (200, 100, 0), opacity=0.25, thickness=0)
    expected = np.where(MASK[..., None], np.rint(0.75 * FRAME + 0.25 * np.array([200, 100, 0])), FRAME)
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_array_equal(FRAME, before)


def test_contour_is_opaque_and_one_pixel_wide():
    drawn = overlay(FRAME, MASK, (200, 100, 0), opacity=0.0, thickness=1)
    border = MASK.copy()
    border[6:14, 9:21] = False
    np.testing.assert_array_equal(drawn[border], np.broadcast_to([200, 100, 0], (border.sum(), 3)))
    np.testing.assert_array_equal(drawn[~border], FRAME[~border])


def test_holes_are_outlined():
    mask = MASK.copy()
    mask[9:11, 13:17] = False
    drawn = overlay(np.zeros_like(FRAME), mask, (255, 0, 0), opacity=0.0)
    assert (drawn[8, 14] == [255, 0, 0]).all()


@pytest.mark.parametrize("mask", [np.zeros((20, 30)), np.zeros((20, 30), np.uint8)])
def test_empty_mask_changes_nothing(mask):
    np.testing.assert_array_equal(overlay(FRAME, mask), FRAME)


@pytest.mark.parametrize(
    ("frame", "mask", "message"),
    [
        (FRAME[..., 0], MASK, "frame must be"),
        (FRAME / 255, MASK, "frame must be"),
        (FRAME, MASK.T, r"as large as the frame, \(20, 30\), not \(30, 20\)"),
    ],
)
def test_wrong_input(frame, mask, message):
    with pytest.raises(InputError, match=message):
        overlay(frame, mask)


def test_side_by_side():
    other = FRAME[:, :7]
    together = side_by_side([FRAME, other], gap=4, background=9)
    assert together.shape == (20, 30 + 4 + 7, 3)
    np.testing.assert_array_equal(together[:, :30], FRAME)
    np.testing.assert_array_equal(together[:, 34:], other)
    assert (together[:, 30:34] == 9).all()


@pytest.mark.parametrize("images", [[], [FRAME, FRAME[1:]]])
def test_side_by_side_needs_one_height(images):
    with pytest.raises(InputError, match="one height"):
        side_by_side(images)


def test_comparison():
    together = comparison(FRAME, MASK, ~MASK, gap=2)
    np.testing.assert_array_equal(together[:, :30], overlay(FRAME, MASK, PREDICTION_COLOUR))
    np.testing.assert_array_equal(together[:, 32:], overlay(FRAME, ~MASK, TRUTH_COLOUR))
    np.testing.assert_array_equal(comparison(FRAME, MASK, None), overlay(FRAME, MASK))
