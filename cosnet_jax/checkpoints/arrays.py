"""Reads the arrays of an .npz file that need not be trusted."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np

from cosnet_jax.errors import InputError

FREE_BYTES = 2**26
GROWTH = 4  # compressed weights take more than half of their size, so a file that grows more is not one of weights
KINDS = "fiubU"  # of the types of arrays: numbers and strings


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads all arrays of an .npz file. Nothing in it is run, and it cannot unpack to much more than its size.

    Args:
      path: the file.

    Returns:
      Name -> array, of numbers or strings.

    Raises:
      InputError: the file cannot be read, is damaged or no .npz, unpacks to more than 64 MiB plus four times its size,
        or holds something else. The message is the reason alone, without the file's name.
    """
    try:
        limit = FREE_BYTES + GROWTH * Path(path).stat().st_size
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > limit:
                raise InputError(f"it unpacks to more than {limit} bytes")
            arrays = {
                entry.filename.removesuffix(".npy"): np.load(io.BytesIO(archive.read(entry)), allow_pickle=False)
                for entry in archive.infolist()
            }
    except InputError:
        raise
    except OSError as error:
        raise InputError(error.strerror or str(error)) from None
    except Exception as error:  # zipfile, zlib and NumPy's parser can raise anything on a damaged file
        raise InputError(f"damaged, or no .npz file: {type(error).__name__}: {error}"[:200]) from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in KINDS:
            raise InputError(f"{name[:60]!r} is no array of numbers")
    return arrays
