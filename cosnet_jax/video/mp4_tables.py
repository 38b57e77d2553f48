"""Looks for impossible numbers of samples in mp4 and mov files, for which FFmpeg would take memory before it reads one.

A table of samples of equal size, or of chunks of equally many samples, takes 20 bytes whatever their number is, and
FFmpeg takes about 70 bytes for each.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cosnet_jax.errors import InputError

HEADER = 8  # bytes of a box: its size, itself included, and its name
WITH_TRACKS = frozenset({b"moov", b"free", b"hoov"})  # outermost boxes in which FFmpeg finds tracks
SAMPLES_PER_BYTE = 8  # at most, in old codecs of sound, where a sample is no packet
_SAMPLES = re.compile(rb"stsz|trun|cmov(?=....dcom)", re.DOTALL)
_CHUNKS = re.compile(rb"stsc|stco|co64")


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
            if not any(name in WITH_TRACKS or name == b"trak" for name, _, _ in _boxes(data, 0, length)):
                return
            samples = sum(_chunked_samples(data, *track) for track in _tracks(data))
            if samples > SAMPLES_PER_BYTE * length or _least_bytes(path, data) > length:
                raise InputError(f"{path}: damaged: it declares more frames than it has bytes; copy it again")


def _least_bytes(path: Path, data: mmap.mmap) -> int:
    """Returns how many bytes the samples of all tables have at least."""
    needed = 0
    for name, start, end in _boxes(data, 0, len(data)):
        for match in _SAMPLES.finditer(data, start, end) if name != b"mdat" else ():  # mdat: any bytes
            if match[0] == b"cmov":
                raise InputError(f"{path}: its header is compressed; convert it, for instance with FFmpeg")
            second, third = (_number(data, match.end() + at) for at in (4, 8))  # flags stand before
            if match[0] == b"trun":
                needed += second  # their number
            else:  # size and number; a size of 0: a table of sizes follows, which FFmpeg bounds by the box
                needed += second * third
    return needed


def _tracks(data: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Yields start and end of each track."""
    for name, start, end in _boxes(data, 0, len(data)):
        if name == b"trak":
            yield start, end
        elif name in WITH_TRACKS:
            yield from ((first, last) for inner, first, last in _boxes(data, start, end) if inner == b"trak")


def _chunked_samples(data: mmap.mmap, start: int, end: int) -> float:
    """Returns how many samples the chunks of a track have, by the largest of its tables if there are several."""
    tables = [(match[0], match.end()) for match in _CHUNKS.finditer(data, start, end)]
    chunks = max((_number(data, at + 4) for name, at in tables if name != b"stsc"), default=0)
    most = 0.0
    for name, at in tables:
        if name == b"stsc":
            size = min(12 * _number(data, at + 4), (end - at - 8) // 12 * 12)
            runs = np.frombuffer(data[at + 8 : at + 8 + max(size, 0)], ">u4").reshape(-1, 3).astype(float)
            lengths = np.diff(runs[:, 0], append=chunks + 1)  # a run: its first chunk, the samples of each, their kind
            most = max(most, float(lengths.clip(1) @ runs[:, 1]))
    return most


def _boxes(data: mmap.mmap, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, start of the content and end of boxes side by side, as FFmpeg finds them: names can be any bytes."""
    while start + HEADER <= stop:
        size, name, content = _number(data, start), data[start + 4 : start + HEADER], start + HEADER
        if size == 1:
            size, content = int.from_bytes(data[content : content + 8], "big"), content + 8
        end = min(start + size, stop) if size else stop
        yield name, content, end
        if size and size < HEADER:
            return
        start = end


def _number(data: mmap.mmap, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
