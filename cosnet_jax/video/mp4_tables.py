"""Looks for impossible numbers of samples in mp4 and mov files, for which FFmpeg would take memory before it reads one.

A table of samples of equal size takes 20 bytes whatever their number is, and FFmpeg takes about 70 bytes for each.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

HEADER = 8  # bytes of a box: its size, itself included, and its name
_SAMPLES = re.compile(rb"stsz....(?P<size>....)(?P<count>....)|trun....(?P<fragment>....)", re.DOTALL)


def declares_too_many_samples(path: Path) -> bool:
    """Tells whether a file is an mp4 or mov that declares more samples than it has bytes for.

    Args:
      path: the file; other formats are never reported.

    Raises:
      OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        if length < HEADER:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for start, end in _boxes(data):
                for match in _SAMPLES.finditer(data, start, end):
                    if match["fragment"]:
                        needed = _number(match["fragment"])
                    else:  # a size of 0: a table of sizes follows, which FFmpeg bounds by the box
                        needed = _number(match["size"]) * _number(match["count"])
                    if needed > length:
                        return True
    return False


def _boxes(data: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Yields start and end of the outermost boxes but those of the samples' own data, whose bytes can be anything."""
    start = 0
    while start + HEADER <= len(data) and re.fullmatch(rb"[ -~]{4}", data[start + 4 : start + HEADER]):
        size = _number(data[start : start + 4])
        if size == 1:
            size = _number(data[start + HEADER : start + 2 * HEADER])
        end = min(start + size, len(data)) if size else len(data)
        if data[start + 4 : start + HEADER] != b"mdat":
            yield start, end
        if size and size < HEADER:
            return
        start = end


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")
