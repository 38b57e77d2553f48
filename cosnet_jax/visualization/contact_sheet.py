"""A contact sheet: small pictures of frames from the whole video in one image, with the references marked."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import cv2
import numpy as np

from cosnet_jax.video.video import evenly_spaced_indices
from cosnet_jax.visualization.overlays import overlay

REFERENCE_COLOUR = (32, 112, 224)
TEXT_COLOUR = (60, 60, 60)
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5
BORDER, GAP, LINE = 5, 10, 22  # pixels: border of a reference, space between tiles, height of a line of text
WIDTH, LONGEST = 1600, 384  # pixels: of a sheet at most, of the longer side of a tile


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


def tile(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Makes a picture of a frame with its mask, its longer side `LONGEST` pixels.

    Args:
      image: uint8 RGB (H, W, 3).
      mask: bool or {0, 1}, (H, W).

    Returns:
      uint8 RGB (h, w, 3), tinted where the mask is.
    """
    scale = LONGEST / max(image.shape[:2])
    size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(np.asarray(mask, np.uint8) * 255, size, interpolation=interpolation)
    return overlay(cv2.resize(image, size, interpolation=interpolation), small > 127)


def contact_sheet(
    tiles: Sequence[np.ndarray], names: Sequence[str], is_reference: Sequence[bool], title: str
) -> np.ndarray:
    """Arranges tiles in rows with their names below; references get a coloured border and the word "reference".

    Args:
      tiles: uint8 RGB (h, w, 3), at least one, all of one size.
      names: one per tile.
      is_reference: one per tile.
      title: a line above the tiles.

    Returns:
      The sheet, uint8 RGB (H, W, 3), at most `WIDTH` pixels wide.
    """
    height, width = tiles[0].shape[:2]
    columns = min(len(tiles), (WIDTH - GAP) // (width + GAP))
    rows = math.ceil(len(tiles) / columns)
    shape = GAP + LINE + rows * (height + LINE + GAP), GAP + columns * (width + GAP), 3
    sheet = np.full(shape, 255, np.uint8)
    _write(sheet, title, GAP, LINE, shape[1] - 2 * GAP, TEXT_COLOUR)
    for number, (image, name, marked) in enumerate(zip(tiles, names, is_reference, strict=True)):
        row, column = divmod(number, columns)
        x, y = GAP + column * (width + GAP), GAP + LINE + row * (height + LINE + GAP)
        if marked:
            corner = x + width + BORDER - 1, y + height + LINE
            cv2.rectangle(sheet, (x - BORDER, y - BORDER), corner, REFERENCE_COLOUR, cv2.FILLED)
        sheet[y : y + height, x : x + width] = image
        label, colour = (f"{name}  reference", (255, 255, 255)) if marked else (name, TEXT_COLOUR)
        _write(sheet, label, x, y + height + LINE - 6, width, colour)
    return sheet


def _write(sheet: np.ndarray, text: str, x: int, baseline: int, width: int, colour: tuple[int, int, int]) -> None:
    """Writes a line of text. A text that is too long loses its start, because frame names differ at their end."""
    text = text.encode("ascii", "replace").decode()  # some versions of OpenCV draw only ASCII
    while len(text) > 2 and cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0] > width:
        text = f"..{text.removeprefix('..')[1:]}"
    cv2.putText(sheet, text, (x, baseline), FONT, FONT_SCALE, colour, 1, cv2.LINE_AA)
