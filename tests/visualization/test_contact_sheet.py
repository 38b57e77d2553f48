"""The contact sheet: which frames it shows, where they are put, and what marks a reference."""

from __future__ import annotations

import numpy as np
import pytest

from cosnet_jax.visualization.contact_sheet import REFERENCE_COLOUR, contact_sheet, sheet_frames, tile
from cosnet_jax.visualization.overlays import overlay


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1,), [0]),
        ((101, (), 5), [0, 25, 50, 75, 100]),
        ((101, (20, 99), 5), [0, 20, 50, 75, 99]),
        ((101, (48, 52), 5), [0, 25, 48, 52, 100]),
        ((101, range(10, 17), 5), [10, 11, 12, 13, 14, 15, 16]),
        ((4, (1, 2), 12), [0, 1, 2, 3]),
    ],
)
def test_frames_are_evenly_spaced_and_references_among_them(arguments, expected):
    assert sheet_frames(*arguments) == expected


def colours(count, height=60, width=180):
    return [np.full((height, width, 3), (20 * number, 255 - 20 * number, 90), np.uint8) for number in range(count)]


def test_every_tile_is_there_in_order_and_only_references_have_a_border():
    tiles = colours(7)
    marked = [number in (1, 4) for number in range(7)]
    sheet = contact_sheet(tiles, [f"{number:05d}" for number in range(7)], marked, title="a clip")
    assert sheet.dtype == np.uint8 and sheet.shape[1] <= 1600
    places = []
    for image, is_reference in zip(tiles, marked, strict=True):
        rows, columns = np.nonzero((sheet == image[0, 0]).all(-1))
        top, left, bottom, right = rows.min(), columns.min(), rows.max(), columns.max()
        assert (bottom - top + 1, right - left + 1) == (60, 180) and rows.size == 60 * 180
        places.append((top, left))
        ring = np.concatenate([sheet[top - 3, left:right], sheet[top:bottom, left - 3], sheet[top:bottom, right + 3]])
        assert (ring == REFERENCE_COLOUR).all() == is_reference
        assert (ring == 255).all() == (not is_reference)
        line = sheet[bottom + 3 : bottom + 20, left:right]  # the name, dark on white or white on the border's colour
        assert (line != line[0, -1]).any()
    assert places == sorted(places)


@pytest.mark.parametrize("shape", [(480, 854), (854, 220), (2, 2), (1, 300), (640, 3)])
def test_every_size_fits(shape):
    picture = tile(np.full((*shape, 3), 100, np.uint8), np.zeros(shape, bool))
    assert max(picture.shape[:2]) == 384
    sheet = contact_sheet([picture] * 13, ["a-very-long-name-of-a-frame-00001"] * 13, [True] * 13, "t" * 300)
    assert 0 < sheet.shape[1] <= 1600 and 0 < sheet.shape[0] < 2000


def test_a_tile_is_small_and_tinted_where_the_mask_is():
    image = np.full((1000, 2000, 3), 100, np.uint8)
    mask = np.zeros((1000, 2000), bool)
    mask[:, :1000] = True
    expected = overlay(np.full((192, 384, 3), 100, np.uint8), np.arange(384) < np.full((192, 1), 192))
    np.testing.assert_array_equal(tile(image, mask), expected)
