"""One object of several through a video, from a click in any frame."""

from __future__ import annotations

import numpy as np
import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.inference.keep_object import keep_object


def two_squares(count=12):
    """Maps (count, 60, 100): one square moves right in the upper half, another one left in the lower half."""
    upper, lower = np.full((2, count, 60, 100), 0.1, np.float32)
    for number in range(count):
        for maps, top, left in ((upper, 5, 5 + 6 * number), (lower, 40, 80 - 6 * number)):
            maps[number, top - 2 : top + 17, left - 2 : left + 17] = 0.4  # a soft edge
            maps[number, top : top + 15, left : left + 15] = 0.9
    return upper, lower


@pytest.mark.parametrize("frame", [0, 5, 11])
def test_a_click_keeps_an_object_in_all_frames_and_drops_the_other_one(frame):
    upper, lower = two_squares()
    kept = list(keep_object(iter(np.maximum(upper, lower)), 80 - 6 * frame + 16, 50, frame))  # beside its edge
    np.testing.assert_array_equal(np.stack(kept) > 0.2, lower > 0.2)
    assert all(map_.dtype == np.float32 for map_ in kept)


def test_parts_that_meet_stay_and_a_hidden_object_comes_back():
    maps = np.zeros((5, 40, 60), np.float32)
    maps[:, 10:20, 10:20] = maps[:, 10:20, 30:50] = 0.9
    maps[2, 14, 20:30] = 0.9  # a bridge
    maps[3] = 0
    kept = np.stack(list(keep_object(maps, 12, 12)))
    np.testing.assert_array_equal(kept[2:], maps[2:])
    assert not kept[:2, :, 25:].any() and kept[:2, 12, 12].all()


def test_the_maps_after_the_click_are_not_read_ahead():
    read = []

    def maps():
        for number in range(9):
            read.append(number)
            yield np.ones((4, 4), np.float32)

    kept = keep_object(maps(), 1, 1, frame=2)
    for _ in range(4):
        next(kept)
    assert read == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("place", "message"), [((1, 1, 12), "of the video"), ((100, 1, 0), "of the video"), ((50, 30, 0), "no object")]
)
def test_a_click_beside_everything_is_said(place, message):
    with pytest.raises(InputError, match=message):
        list(keep_object(np.maximum(*two_squares()), *place))
