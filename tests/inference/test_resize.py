"""The antialiased resize against Pillow, to the last bit."""

from importlib import metadata

import jax
import numpy as np
import pytest
from PIL import Image

from cosnet_jax.inference.resize import filter_taps, match_orientation, resize_antialiased, resize_output
from cosnet_jax.models.layers import resize_bilinear

SIZES = [
    ((480, 854), (473, 473)),  # a DAVIS frame to the release's input: both axes shrink
    ((97, 131), (65, 65)),
    ((64, 48), (17, 100)),  # one shrinks, one grows
    ((31, 40), (97, 120)),
    ((50, 60), (50, 33)),  # one stays
    ((50, 60), (75, 60)),
    ((40, 40), (40, 40)),
    ((300, 7), (20, 7)),
    ((1, 5), (9, 3)),
]


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("content", ["noise", "extremes", "smooth"])
def test_it_is_pillows(before, after, content):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*before, 3), dtype=np.uint8)
    if content == "extremes":
        image = (image > 127).astype(np.uint8) * 255
    elif content == "smooth":
        y, x = np.mgrid[: before[0], : before[1]]
        image = (127.5 + 120 * np.cos(np.stack([y / 7, x / 11, (x + y) / 13], -1))).astype(np.uint8)
    expected = np.asarray(Image.fromarray(image).resize(after[::-1], Image.Resampling.BILINEAR))
    given = np.asarray(jax.jit(resize_antialiased, static_argnums=1)(image[None], after)[0])
    assert given.dtype == np.uint8
    other_order = int(metadata.version("pillow").split(".")[0]) < 13 and after[1] > before[1] and after[0] < before[0]
    difference = np.abs(given.astype(int) - expected)
    assert difference.max() <= (1 if other_order else 0)


def test_taps_of_a_hand_worked_row():
    """4 pixels to 2: centres 1 and 3, a triangle of half-width 2 around them, cut off at the border."""
    pixels, weights = filter_taps(4, 2)
    row = np.zeros((2, 4))
    np.add.at(row, (np.arange(2)[:, None], pixels), weights / 2**22)
    np.testing.assert_allclose(row, np.array([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "frame_size", "expected"),
    [
        ((257, 449), (480, 854), (257, 449)),
        ((257, 449), (854, 480), (449, 257)),
        ((449, 257), (480, 854), (257, 449)),
        ((257, 449), (480, 480), (257, 449)),
        ((473, 473), (854, 480), (473, 473)),
    ],
)
def test_the_longer_side_lies_along_that_of_the_frames(size, frame_size, expected):
    assert match_orientation(size, frame_size) == expected


@pytest.mark.parametrize("size", [(480, 854), (97, 131), (193, 50), (30, 20)])
def test_maps_are_resized_as_on_the_device(size):
    probability = np.random.default_rng(0).random((97, 60), np.float32)
    given = resize_output(probability, size)
    assert given.dtype == np.float32
    # Places between pixels are in float32, and on noise the neighbours are far apart.
    np.testing.assert_allclose(given, resize_bilinear(probability[None], size)[0], atol=1e-5)
