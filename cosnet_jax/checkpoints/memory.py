"""The memory that a checkpoint's arrays take, and what its files can hold; a damaged or hostile one may claim any."""

from __future__ import annotations

import math
import stat
from pathlib import Path
from typing import Any


def bytes_held(folder: Path) -> int:
    """Returns the size on disk of all files below a folder. Links to files and holes in files hold nothing."""
    states = [path.lstat() for path in folder.glob("**/*")]
    return sum(min(state.st_size, 512 * state.st_blocks) for state in states if stat.S_ISREG(state.st_mode))


def bytes_to_read(array: Any) -> int:
    """Returns the memory that reading an array takes: chunks, and shards of several chunks, are read whole.

    Args:
      array: what orbax's metadata say of it.
    """
    shape = array.shape
    for part in (array.storage.chunk_shape, array.storage.write_shape) if array.storage else ():
        shape = [-(-size // max(step, 1)) * step for size, step in zip(shape, part or shape, strict=True)]
    return math.prod(shape) * array.dtype.itemsize
