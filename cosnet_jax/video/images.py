"""Decodes and encodes images and masks, and detects truncated files."""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
PHOTO_SUFFIXES = (".heic", ".heif", ".avif")  # read as far as Pillow, or pillow-heif, reads them
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM")  # Pillow's names of what OpenCV gets to decode
MAX_PIXELS = 2**26  # of an image, twice as many as 8K has
HEADER_ERRORS = (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError)
ORIENTATION = 0x0112  # of EXIF
ROWS = 64  # of an image that are composited at a time

JPEG_START, JPEG_END = b"\xff\xd8", 0xD9
PNG_START = b"\x89PNG\r\n\x1a\n"
# The next marker in entropy-coded data. 0xff is no marker before 00 (stuffing), d0-d7 (restart) and ff (fill).
_NEXT_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")


def is_image(file: Path) -> bool:
    """Tells by its name whether a file is an image that `open_video` reads. Hidden files are none."""
    return file.suffix.lower() in IMAGE_SUFFIXES + PHOTO_SUFFIXES and not file.name.startswith(".")


def is_truncated(data: bytes) -> bool:
    """Tells whether a JPEG or PNG ends before its last marker or chunk.

    Decoders fill the missing part of a JPEG with grey, some without an error, so this follows the structure of the
    file. Other formats are never reported.

    Args:
      data: the file's bytes.

    Returns:
      Whether the end is missing.
    """
    if data.startswith(JPEG_START):
        return not _jpeg_reaches_its_end(data)
    return data.startswith(PNG_START) and not _png_reaches_its_end(data)


def _jpeg_reaches_its_end(data: bytes) -> bool:
    position = len(JPEG_START)
    while marker := _NEXT_MARKER.search(data, position):
        code, position = marker[1][0], marker.end()
        if code == JPEG_END:
            return True
        if code != 0x01:  # a segment follows every other marker: skip it, a thumbnail in it has markers too
            position += int.from_bytes(data[position : position + 2], "big")
    return False


def _png_reaches_its_end(data: bytes) -> bool:
    position = len(PNG_START)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + length
    return False


def image_size(file: Path | io.BytesIO) -> tuple[int, int] | None:
    """Reads (height, width) from an image's header; None if it is none of `FORMATS`."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            return image.height, image.width
    except HEADER_ERRORS:
        return None


def decode(data: bytes, mode: int) -> np.ndarray | None:
    """Decodes an image in OpenCV's own layout.

    Args:
      data: the file's bytes: one of `FORMATS`, of at most `MAX_PIXELS`.
      mode: OpenCV's flags, such as `cv2.IMREAD_COLOR`.

    Returns:
      What `cv2.imdecode` returns; None if the bytes are not such an image.
    """
    size = image_size(io.BytesIO(data))
    if size is None or math.prod(size) > MAX_PIXELS or (data.startswith(PNG_START) and is_truncated(data)):
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error:
        return None


def decode_image(data: bytes) -> np.ndarray | None:
    """Decodes an image and turns it upright, as its EXIF orientation says.

    Grey is repeated over the channels, 16 bits are scaled to 8, transparent pixels are composited over black.

    Args:
      data: the file's bytes.

    Returns:
      uint8 RGB (H, W, 3), or None if the bytes are not an image.
    """
    image = decode(data, cv2.IMREAD_UNCHANGED)
    if image is None:
        return None
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=1 / 257)  # 65535 becomes 255, all others the nearest level
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    elif image.shape[2] == 4:
        image = over_black(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))
    else:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(_TURNS.get(_orientation(data), lambda turned: turned)(image))


# What makes an image upright, for each EXIF orientation but 1.
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image.swapaxes(0, 1), 2),
    8: np.rot90,
}


def _orientation(data: bytes) -> int:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.getexif().get(ORIENTATION, 1)
    except HEADER_ERRORS:  # the pixels were decoded: only these notes are damaged
        return 1


def over_black(image: np.ndarray) -> np.ndarray:
    """Composites uint8 RGBA (H, W, 4) over black, and returns uint8 RGB (H, W, 3)."""
    result = np.empty((*image.shape[:2], 3), np.uint8)
    for start in range(0, len(image), ROWS):  # a few rows at a time, for the products have twice the size
        rows = image[start : start + ROWS]
        result[start : start + ROWS] = (rows[..., :3] * rows[..., 3:].astype(np.uint16) + 127) // 255
    return result


def decode_mask(data: bytes, threshold: int) -> np.ndarray | None:
    """Decodes a mask stored as grey, palette, RGB or RGBA.

    Args:
      data: the file's bytes.
      threshold: a pixel is foreground if a colour channel is above it (0-255); alpha does not count.

    Returns:
      bool (H, W), or None if the bytes are not an image.
    """
    stored = decode(data, cv2.IMREAD_UNCHANGED)
    if stored is None:
        return None
    if stored.dtype == np.uint16:
        stored = (stored >> 8).astype(np.uint8) if threshold else (stored > 0).astype(np.uint8)
    if stored.ndim == 2:
        return stored > threshold
    return (stored[..., :3] > threshold).any(axis=-1)


def encode_mask(mask: np.ndarray, one_bit: bool = False) -> bytes:
    """Encodes a mask as a grey PNG of 0 and 255.

    Args:
      mask: bool or {0, 1}, (H, W).
      one_bit: store one bit per pixel; it decodes to the same mask, and fastest.

    Returns:
      The PNG file's bytes.
    """
    options = [cv2.IMWRITE_PNG_BILEVEL, int(one_bit)]
    return cv2.imencode(".png", mask.astype(np.uint8) * 255, options)[1].tobytes()
