"""The memory that a checkpoint's arrays take, and what its files can hold; a damaged or hostile one may claim any."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any


def bytes_held(folder: Path) -> int:
    """Returns the size of all files below a folder, of which some may be links, as caches of downloads make them."""
    return sum(path.stat().st_size for path in folder.glob("**/*") if path.is_file())


def bytes_to_read(array: Any) -> int:
    """Returns the memory that reading an array takes: chunks, and shards of several chunks, are read whole.

    Args:
      array: what orbax's metadata say of it.
    """
    shape = array.shape
    for part in (array.storage.chunk_shape, array.storage.write_shape) if array.storage else ():
        shape = [-(-size // max(step, 1)) * step for size, step in zip(shape, part or shape, strict=True)]
    return math.prod(shape) * array.dtype.itemsize
