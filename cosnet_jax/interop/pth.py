"""Reads and writes the weights files of PyTorch without torch, and without trusting them.

A `.pth` file has one of two formats. The zip format (PyTorch >= 1.6) is an uncompressed archive of `<name>/data.pkl`
and one `<name>/data/<key>` for each storage. The legacy format is a row of five pickles (a magic number, a protocol
version, a description of the system, the object, the list of its storages' keys), then the storages: each is an int64
number of elements and the elements.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import struct
import zipfile
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy

from cosnet_jax.errors import InputError
from cosnet_jax.files import atomic_write, expanded
from cosnet_jax.interop.unpickler import STORAGE_DTYPES, Refused, Storage, Unpickler

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
# Where training scripts put the weights among other things, in order of preference.
WEIGHTS_KEYS = ("state_dict", "model", "model_state_dict", "model_state", "net", "ema", "model_ema", "state_dict_ema")
# Parts of names that come from wrappers: DataParallel, torch.compile, FSDP, activation checkpointing.
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
AVERAGED = "n_averaged"  # the counter of torch.optim.swa_utils.AveragedModel


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the weights in a file of PyTorch, alone or beside other things that a training script saved.

    The names are those of the bare network: what wrappers add to them (`module.`, `_orig_mod.`) is removed.

    Args:
      path: a file that `torch.save` wrote, or a `.safetensors`. It need not be trusted.

    Returns:
      Name -> array.

    Raises:
      InputError: the file cannot be read, or holds no weights.
    """
    content = read_pth(path)
    found = _find_weights(content)
    if not found:
        told = f"a {getattr(content, 'name', type(content).__name__)}"
        if isinstance(content, dict):
            told = "a dict of " + (", ".join(repr(key)[:40] for key in list(content)[:8]) or "nothing")
        raise InputError(f"{path}: found {told}; expected a state dict, as `model.state_dict()` gives it")
    bare = {".".join(part for part in name.split(".") if part not in WRAPPERS): name for name in found}
    if len(bare) < len(found):  # some names differ in these parts alone: they mean something here
        return found
    return {name: found[original] for name, original in bare.items() if name != AVERAGED}


def read_pth(path: str | os.PathLike[str]) -> Any:
    """Reads a file of PyTorch as plain containers of NumPy arrays. No code in the file runs.

    Args:
      path: a file that `torch.save` wrote, in the zip or the legacy format, or a `.safetensors`.

    Returns:
      The saved object. Tensors and parameters are arrays of their dtype (bfloat16 as `ml_dtypes.bfloat16`); those that
      shared memory still share it. Objects that are neither tensors nor plain containers are `Placeholder`s.

    Raises:
      InputError: the file is missing or damaged, or has another format.
    """
    try:
        with open(expanded(path), "rb") as file:
            return _read(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a file of PyTorch weights") from error
    except Refused as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # the parsers can raise anything on a damaged file
        cause = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise InputError(f"{path}: damaged, or not written by torch.save ({cause}); download it again") from error


def _find_weights(content: Any, depth: int = 5) -> dict[str, np.ndarray]:
    """Returns the arrays by name under the first of `WEIGHTS_KEYS`, else the largest such dict; {} if there is none."""
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, dict) or not depth:
        return {}
    for key in WEIGHTS_KEYS:
        if found := _find_weights(content.get(key), depth - 1):
            return found
    own = {name: array for name, array in content.items() if isinstance(name, str) and isinstance(array, np.ndarray)}
    return max([own, *(_find_weights(value, depth - 1) for value in content.values())], key=len)


def _read(file: BinaryIO, size: int) -> Any:
    start = file.read(9)
    file.seek(0)
    if start.startswith(b"PK\x03\x04"):
        return _read_zip(file, size)
    if start.startswith(b"\x80"):
        return _read_legacy(file, size)
    if start[8:] == b"{":
        return safetensors.numpy.load_file(file.name)
    raise Refused("expected a file written by torch.save (zip or legacy pickle format), or a .safetensors")


def _read_legacy(file: BinaryIO, size: int) -> Any:
    unpicklers = [Unpickler(file, size) for _ in range(5)]
    magic_number, _, _, content, keys = (unpickler.load() for unpickler in unpicklers)
    if magic_number != MAGIC_NUMBER:
        raise Refused("a pickle, but not one that torch.save wrote")
    storages = unpicklers[3].storages
    if set(keys) != set(storages):
        raise Refused("the storages that its tensors use are not those that follow")
    for key in keys:
        storage, count = storages[key], struct.unpack("<q", file.read(8))[0]
        if count * storage.dtype.itemsize != storage.data.size:
            raise Refused(f"storage {key[:40]!r} has {count} elements, and its tensors another number")
        _fill(storage, file)
    return content


def _read_zip(file: BinaryIO, size: int) -> Any:
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > size:
            raise Refused("has compressed parts, as TorchScript has; expected a file that torch.save wrote")
        programs = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(programs) != 1:
            raise Refused("a zip file, but not one that torch.save wrote (no single data.pkl)")
        unpickler = Unpickler(io.BytesIO(archive.read(programs[0])), size)
        content = unpickler.load()
        for key, storage in unpickler.storages.items():
            with archive.open(f"{programs[0].removesuffix('data.pkl')}data/{key}") as stream:
                _fill(storage, stream)
    return content


def _fill(storage: Storage, stream: Any) -> None:
    """Reads a storage's bytes."""
    if stream.readinto(storage.data) != storage.data.size:
        raise Refused("truncated: the file ends within a storage")
    if storage.dtype == np.bool_:
        np.not_equal(storage.data, 0, out=storage.data.view(np.bool_))  # NumPy misreads bools that are not 0 or 1


def write_pth(path: str | os.PathLike[str], content: Any) -> None:
    """Writes a zip-format `.pth` file that `torch.load(path, weights_only=True)` opens.

    Args:
      path: the file to write. An existing file is replaced when the new one is complete.
      content: a state dict, or nested dicts with one among plain values. Arrays become tensors of the same dtype.

    Raises:
      InputError: the file cannot be written.
    """
    storages: list[np.ndarray] = []
    program = pickle.PROTO + b"\x02" + _pickled(content, storages) + pickle.STOP
    with atomic_write(expanded(path)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), program)
        archive.writestr(zipfile.ZipInfo("archive/byteorder"), b"little")
        for key, array in enumerate(storages):
            archive.writestr(zipfile.ZipInfo(f"archive/data/{key}"), array.tobytes())
        archive.writestr(zipfile.ZipInfo("archive/version"), b"3\n")


def _pickled(value: Any, storages: list[np.ndarray]) -> bytes:
    """Pickles a value as torch.save does (protocol 2, without start and end); adds its arrays to `storages`."""
    if isinstance(value, dict):
        items = b"".join(_pickled(part, storages) for item in value.items() for part in item)
        return pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS
    if not isinstance(value, np.ndarray | np.generic):
        return pickle.dumps(value, protocol=2)[2:-1]
    array = np.asarray(value, order="C")
    kind = next(name for name, dtype in STORAGE_DTYPES.items() if dtype == array.dtype)
    key = str(len(storages))
    storages.append(array)
    strides = tuple(math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim))
    storage = _sequence(b"", "storage", _global(kind), key, "cpu", array.size) + pickle.BINPERSID
    hooks = _global("collections.OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    arguments = _sequence(storage, 0, array.shape, strides, False, hooks)
    return _global("torch._utils._rebuild_tensor_v2") + arguments + pickle.REDUCE


def _global(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()


def _sequence(*values: Any) -> bytes:
    """Pickles a tuple of plain values and of what is pickled already (bytes)."""
    parts = [value if isinstance(value, bytes) else pickle.dumps(value, protocol=2)[2:-1] for value in values]
    return pickle.MARK + b"".join(parts) + pickle.TUPLE
