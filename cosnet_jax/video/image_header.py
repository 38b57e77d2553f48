"""Reads the size of an image from its header, so that a small file cannot make a decoder take all memory."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 2**26  # of an image, twice as many as 8K has
MAX_SCANS = 100  # of a JPEG, each of which takes as long as decoding a whole image; encoders make about 10

# The next marker in entropy-coded data. 0xff is no marker before 00 (stuffing), d0-d7 (restart) and ff (fill).
_NEXT_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
END, SCAN = 0xD9, 0xDA
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PNM_HEADER = 4096  # bytes of a PNM that are looked at; its size stands in the first ones, after some comments
# As OpenCV reads it: a comment ends with its line, and the byte after a number belongs to no comment.
_PNM = re.compile(rb"P[1-6](?:\s|#[^\r\n]*[\r\n])+(\d{1,9})\s(?:\s|#[^\r\n]*[\r\n])*(\d{1,9})\s")


def image_size(data: bytes) -> tuple[int, int] | None:
    """Reads the size of a JPEG, PNG, BMP, WebP or PNM image.

    Args:
      data: the file's bytes, or enough of its first ones.

    Returns:
      (height, width), both above 0, or None if the bytes are none of these formats or end before the size.
    """
    try:
        size = _size(data)
    except (IndexError, struct.error):
        return None
    return size if size is not None and min(size) > 0 else None


def is_decodable(data: bytes) -> bool:
    """Tells whether the bytes claim to be an image in a format that this package reads, of at most `MAX_PIXELS` and
    `MAX_SCANS`."""
    size = image_size(data)
    if size is None or size[0] * size[1] > MAX_PIXELS:
        return False
    return not data.startswith(JPEG_START) or sum(code == SCAN for code, _ in jpeg_segments(data)) <= MAX_SCANS


def _size(data: bytes) -> tuple[int, int] | None:
    if data.startswith(PNG_START):
        width, height = struct.unpack_from(">II", data, 16)
    elif data.startswith(JPEG_START):
        return _jpeg_size(data)
    elif data.startswith(b"BM"):
        (header_bytes,) = struct.unpack_from("<I", data, 14)
        width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", data, 18)
        width, height = abs(width), abs(height)  # a negative height: stored from the top
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_size(data)
    elif match := _PNM.match(data[:PNM_HEADER]):
        width, height = int(match[1]), int(match[2])
    else:
        return None
    return height, width


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yields the code of each marker of a JPEG up to its end marker, and where what follows the marker starts."""
    position = len(JPEG_START)
    while marker := _NEXT_MARKER.search(data, position):
        code, position = marker[1][0], marker.end()
        yield code, position
        if code == END or position + 2 > len(data):
            return
        if code != 0x01:  # a segment follows every other marker: skip it, a thumbnail in it has markers too
            position += int.from_bytes(data[position : position + 2], "big")


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    for code, position in jpeg_segments(data):
        if code in _FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", data, position + 3)
            return height, width
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[start : start + 3], "little") for start in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        return None
    return height, width
