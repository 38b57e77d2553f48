"""The size of the network's input."""

import numpy as np
import pytest

from cosnet_jax.inference.resize import match_orientation, resize_frame


@pytest.mark.parametrize(
    ("frame_size", "expected"), [((480, 854), (257, 449)), ((854, 480), (449, 257)), ((99, 99), (257, 449))]
)
def test_the_longer_side_lies_along_the_frames(frame_size, expected):
    assert match_orientation((257, 449), frame_size) == expected


def test_shrinking_averages_and_the_order_of_sides_is_height_width():
    frame = np.zeros((4, 8, 3), np.uint8)
    frame[:, 4:] = 200
    np.testing.assert_array_equal(resize_frame(frame, (2, 2))[0, :, 0], [29, 171])  # 0.5 of 3.5
