"""Looks for impossible numbers of samples in mp4 and mov files, for which FFmpeg would take memory before it reads one.

A table of samples of equal size takes 20 bytes whatever their number is, and FFmpeg takes about 70 bytes for each.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

from cosnet_jax.errors import InputError

HEADER = 8  # bytes of a box: its size, itself included, and its name
WITH_TRACKS = frozenset({b"moov", b"trak", b"free", b"hoov"})  # outermost boxes in which FFmpeg finds tracks
_TABLES = re.compile(rb"stsz|trun|cmov(?=....dcom)", re.DOTALL)


def check_sample_tables(path: Path) -> None:
    """Checks an mp4 or mov file; other formats pass.

    Args:
      path: the file.

    Raises:
      InputError: all its tracks together declare more samples than it has bytes, or its header is compressed.
      OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        if length < HEADER:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if not any(name in WITH_TRACKS for name, _, _ in _boxes(data)):
                return
            needed = 0
            for name, start, end in _boxes(data):
                for match in _TABLES.finditer(data, start, end) if name != b"mdat" else ():  # mdat: any bytes
                    if match[0] == b"cmov":
                        raise InputError(f"{path}: its header is compressed; convert it, for instance with FFmpeg")
                    needed += _least_bytes(data, match)
                    if needed > length:
                        raise InputError(f"{path}: damaged: it declares more frames than it has bytes; copy it again")


def _boxes(data: mmap.mmap) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, start and end of the outermost boxes, as FFmpeg finds them: names can be any bytes."""
    start = 0
    while start + HEADER <= len(data):
        size, name = _number(data[start : start + 4]), data[start + 4 : start + HEADER]
        if size == 1:
            size = _number(data[start + HEADER : start + 2 * HEADER])
        end = min(start + size, len(data)) if size else len(data)
        yield name, start, end
        if size and size < HEADER:
            return
        start = end


def _least_bytes(data: mmap.mmap, match: re.Match[bytes]) -> int:
    """Returns how many bytes the samples of a table have at least."""
    second, third = (_number(data[match.end() + at : match.end() + at + 4]) for at in (4, 8))  # flags stand before
    if match[0] == b"trun":
        return second  # their number
    return second * third  # size and number; a size of 0: a table of sizes follows, which FFmpeg bounds by the box


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")
