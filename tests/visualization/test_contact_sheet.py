"""The contact sheet: which frames it shows, where they are put, and what marks a reference."""

from __future__ import annotations

import numpy as np
import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.visualization.contact_sheet import REFERENCE_COLOUR, contact_sheet, sheet_frames, tile
from cosnet_jax.visualization.overlays import overlay


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1,), [0]),
        ((3,), [0, 1, 2]),
        ((101, (), 5), [0, 25, 50, 75, 100]),
        ((101, (0, 50), 5), [0, 25, 50, 75, 100]),
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


def test_marking_a_reference_changes_its_label():
    labels = [contact_sheet(colours(1), ["00007"], [marked])[75:92, 10:190] for marked in (False, True)]
    is_text = [(label != label[0, -1]).any(-1).any(0) for label in labels]
    assert np.nonzero(is_text[1])[0].max() > 1.5 * np.nonzero(is_text[0])[0].max()


@pytest.mark.parametrize("shape", [(480, 854), (854, 220), (2, 2), (1, 300), (640, 3), (33, 47)])
@pytest.mark.parametrize("count", [1, 2, 12, 13])
def test_every_size_and_number_fits(shape, count):
    picture = tile(np.full((*shape, 3), 100, np.uint8), np.zeros(shape, bool))
    sheet = contact_sheet([picture] * count, ["a-very-long-name-of-a-frame-00001"] * count, [True] * count, "t" * 300)
    height, width = sheet.shape[:2]
    assert 0 < width <= 1600 and 0 < height < 8000
    if count == 12 and shape == (480, 854):
        assert 1 <= width / height <= 2.5


def test_a_tile_is_small_and_tinted_where_the_mask_is():
    image = np.full((1000, 2000, 3), 100, np.uint8)
    mask = np.zeros((1000, 2000), bool)
    mask[:, :1000] = True
    picture = tile(image, mask, longest=200)
    assert picture.shape == (100, 200, 3)
    expected = overlay(np.full((100, 200, 3), 100, np.uint8), np.arange(200) < np.full((100, 1), 100))
    np.testing.assert_array_equal(picture, expected)
    small = tile(image[:50, :80], mask[:50, :80], longest=200)
    np.testing.assert_array_equal(small, overlay(image[:50, :80], mask[:50, :80]))


def test_tiles_of_different_sizes_are_refused():
    for tiles in ([], [*colours(1), *colours(1, height=50)]):
        with pytest.raises(InputError, match="tiles of one size"):
            contact_sheet(tiles, ["0"] * len(tiles), [False] * len(tiles))
