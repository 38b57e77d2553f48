"""A contact sheet: small pictures of frames from the whole video in one image, with the references marked."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import cv2
import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.video.video import evenly_spaced_indices
from cosnet_jax.visualization.overlays import overlay

REFERENCE_COLOUR = (32, 112, 224)
TEXT_COLOUR = (60, 60, 60)
BACKGROUND = 255
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5
BORDER, GAP, LINE = 5, 10, 22  # pixels: border of a reference, space between tiles, height of a line of text
WIDTH = 1600  # pixels of a sheet
NARROWEST = 160  # pixels: narrower tiles are enlarged to this width (at most 4 times), so that their names fit below
ASPECT = 1.6  # preferred width / height of the sheet


def sheet_frames(num_frames: int, references: Collection[int] = (), count: int = 12) -> list[int]:
    """Chooses the frames of a contact sheet: evenly spaced, but each reference replaces the frame nearest to it.

    Args:
      num_frames: length of the video, at least 1.
      references: frame indices in [0, num_frames); all of them are shown.
      count: number of frames; there are fewer in a shorter video, and more where there are more references.

    Returns:
      Frame indices, ascending.
    """
    references = set(references)
    chosen = set(evenly_spaced_indices(num_frames, max(count, 1)))
    for reference in sorted(references - chosen):
        others = chosen - references
        if others:
            chosen.remove(min(others, key=lambda index: abs(index - reference)))
        chosen.add(reference)
    return sorted(chosen)


def tile(image: np.ndarray, mask: np.ndarray, longest: int = 640) -> np.ndarray:
    """Makes a small picture of a frame with its mask, so that a contact sheet needs little memory for its tiles.

    Args:
      image: uint8 RGB (H, W, 3).
      mask: bool or {0, 1}, (H, W).
      longest: greatest length of the longer side in pixels; smaller frames keep their size.

    Returns:
      uint8 RGB (h, w, 3), tinted where the mask is.
    """
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(np.asarray(mask, np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 127
    return overlay(image, mask)


def contact_sheet(
    tiles: Sequence[np.ndarray], names: Sequence[str], is_reference: Sequence[bool], title: str = ""
) -> np.ndarray:
    """Arranges tiles in rows with their names below; references get a coloured border and the word "reference".

    A sheet is at most `WIDTH` pixels wide, less where the tiles are too small to fill that.

    Args:
      tiles: uint8 RGB (h, w, 3), all of one size.
      names: one per tile.
      is_reference: one per tile.
      title: a line above the tiles.

    Returns:
      The sheet, uint8 RGB (H, W, 3).

    Raises:
      InputError: there is no tile, or the tiles differ in size.
    """
    if len({image.shape for image in tiles}) != 1:
        raise InputError(f"a contact sheet needs tiles of one size, not {[image.shape for image in tiles]}")
    height, original = tiles[0].shape[:2]
    columns = _columns(len(tiles), height / original)
    tile_width = max(1, min((WIDTH - GAP) // columns - GAP, max(original, min(NARROWEST, 4 * original))))
    tile_height = max(1, round(height * tile_width / original))
    top = GAP + (LINE if title else 0)
    rows = math.ceil(len(tiles) / columns)
    shape = top + rows * (tile_height + LINE + GAP), GAP + columns * (tile_width + GAP), 3
    sheet = np.full(shape, BACKGROUND, np.uint8)
    if title:
        _write(sheet, title, GAP, LINE, shape[1] - 2 * GAP, TEXT_COLOUR)
    for number, (image, name, marked) in enumerate(zip(tiles, names, is_reference, strict=True)):
        row, column = divmod(number, columns)
        x, y = GAP + column * (tile_width + GAP), top + row * (tile_height + LINE + GAP)
        if marked:
            corner = x + tile_width + BORDER - 1, y + tile_height + LINE
            cv2.rectangle(sheet, (x - BORDER, y - BORDER), corner, REFERENCE_COLOUR, cv2.FILLED)
        interpolation = cv2.INTER_AREA if tile_width < original else cv2.INTER_CUBIC
        small = cv2.resize(image, (tile_width, tile_height), interpolation=interpolation)
        sheet[y : y + tile_height, x : x + tile_width] = small
        label = f"{name}  reference" if marked and _text_fits(f"{name}  reference", tile_width) else name
        _write(sheet, label, x, y + tile_height + LINE - 6, tile_width, (255, 255, 255) if marked else TEXT_COLOUR)
    return sheet


def _columns(count: int, tile_aspect: float) -> int:
    """Chooses the number of columns for which the ratio of the sheet's sides is closest to `ASPECT`."""
    aspects = {columns: columns / (math.ceil(count / columns) * tile_aspect) for columns in range(1, count + 1)}
    return min(aspects, key=lambda columns: abs(math.log(aspects[columns] / ASPECT)))


def _text_fits(text: str, width: int) -> bool:
    return cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0] <= width


def _write(sheet: np.ndarray, text: str, x: int, baseline: int, width: int, colour: tuple[int, int, int]) -> None:
    """Writes a line of text. A text that is too long loses its start, because frame names differ at their end."""
    text = text.encode("ascii", "replace").decode()  # some versions of OpenCV draw only ASCII
    starts = (start for start in range(len(text)) if _text_fits(".." * (start > 0) + text[start:], width))
    start = next(starts, len(text))
    cv2.putText(sheet, ".." * (start > 0) + text[start:], (x, baseline), FONT, FONT_SCALE, colour, 1, cv2.LINE_AA)
