"""The memory that a checkpoint's arrays take, and what its files can hold; a damaged or hostile one may claim any."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any


def bytes_held(folder: Path) -> int:
    """Returns the bytes that all files below a folder hold.

    Some may be links, as caches of downloads make them. Holes hold nothing.
    """
    return sum(_bytes_written(path) for path in folder.glob("**/*") if path.is_file())


def _bytes_written(path: Path) -> int:
    total = position = 0
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while position < size:
            try:
                start = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError:  # the rest is a hole
                break
            position = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            total += position - start
    return total


def bytes_to_read(array: Any) -> int:
    """Returns the memory that reading an array takes: chunks, and shards of several chunks, are read whole.

    Args:
      array: what orbax's metadata say of it.
    """
    shape = array.shape
    for part in (array.storage.chunk_shape, array.storage.write_shape) if array.storage else ():
        shape = [-(-size // max(step, 1)) * step for size, step in zip(shape, part or shape, strict=True)]
    return math.prod(shape) * array.dtype.itemsize
