"""Reads PyTorch's weights files without torch and without running anything in them.

A `.pth` file has one of two formats. The zip format (PyTorch >= 1.6) is an archive of `<name>/data.pkl` and one
`<name>/data/<key>` for each storage. The legacy format is a row of five pickles (a magic number, a protocol version, a
description of the system, the object, the list of its storages' keys), then the storages: each is an int64 number of
elements and the elements.

Only tensors, parameters and plain containers are built. Every other name in a pickle gives a placeholder: a type of
ours that takes what a pickle does with it and keeps nothing. So a training script's scheduler or argparse namespace
beside the weights does no harm, whatever it is.
"""

from __future__ import annotations

import functools
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
import safetensors.numpy

from cosnet_jax.errors import InputError
from cosnet_jax.files import expanded

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
DTYPES = {
    "torch.HalfStorage": np.float16,
    "torch.FloatStorage": np.float32,
    "torch.DoubleStorage": np.float64,
    "torch.BFloat16Storage": ml_dtypes.bfloat16,
    "torch.CharStorage": np.int8,
    "torch.ShortStorage": np.int16,
    "torch.IntStorage": np.int32,
    "torch.LongStorage": np.int64,
    "torch.ByteStorage": np.uint8,
    "torch.BoolStorage": np.bool_,
}
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
        told = getattr(content, "name", type(content).__name__)
        if isinstance(content, dict):
            told = "a dict of " + (", ".join(map(ascii, content))[:300] or "nothing")
        raise InputError(f"{path}: found {told}; expected a state dict, as `model.state_dict()` gives it")
    bare = {".".join(part for part in name.split(".") if part not in WRAPPERS): name for name in found}
    if len(bare) < len(found):  # some names differ in these parts alone: they mean something here
        return found
    return {name: found[original] for name, original in bare.items() if name != AVERAGED}


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
            start = file.read(9)
            file.seek(0)
            if start.startswith(b"PK"):
                return _read_zip(file)
            if start.startswith(b"\x80"):
                return _read_legacy(file)
            if start[8:] == b"{":
                return safetensors.numpy.load_file(file.name)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a file of PyTorch weights") from error
    except Exception as error:  # the parsers can raise anything on a damaged file
        cause = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise InputError(f"{path}: damaged, or not written by torch.save ({cause}); download it again") from error
    raise InputError(f"{path}: expected a file written by torch.save (zip or legacy pickle format), or a .safetensors")


class Placeholder:
    """Stands for an object of another type. Its methods are those that the pickle machine calls."""

    name = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Placeholder:
        return super().__new__(cls)

    def _ignore(self, *args: Any, **kwargs: Any) -> Placeholder:
        return self

    __call__ = append = extend = __setitem__ = __setstate__ = add = _ignore


class _Dict(dict):
    """An OrderedDict of the file. What a pickle sets as its attributes (PyTorch's `_metadata`) is not kept."""

    def __setstate__(self, state: Any) -> None:
        pass


class Unpickler(pickle.Unpickler):
    """Reads one pickle; `read_storage(key, dtype)` gives the elements that tensors view, or None."""

    def __init__(self, file: BinaryIO, read_storage: Callable[[str, Any], np.ndarray | None]) -> None:
        super().__init__(file)
        self._read_storage = read_storage
        # What a pickle can call or name. Strings and bound methods have no attributes that it could set.
        self._allowed: dict[str, Any] = {
            "collections.OrderedDict": _Dict,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": self._parameter,
            "torch._utils._rebuild_parameter_with_state": self._parameter,
            **{name: name for name in DTYPES},
        }

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a global: ours, or a placeholder of its name. Nothing is imported."""
        full = f"{module}.{name}"
        return self._allowed.get(full) or type("Placeholder", (Placeholder,), {"name": full})

    def persistent_load(self, pid: Any) -> Any:
        """Returns the elements of ("storage", type, key, ...), or a placeholder, as for ("module", class, ...)."""
        _, kind, key, *_ = pid
        return self._read_storage(key, DTYPES[kind]) if isinstance(kind, str) else Placeholder

    def _tensor(self, elements: Any, offset: int, shape: Any, strides: Any, *_: Any) -> np.ndarray | Placeholder:
        if not isinstance(elements, np.ndarray):  # of a type that NumPy does not have
            return Placeholder()
        if elements.size == 0 and 0 not in shape:  # NumPy checks views of other buffers, but not of empty ones
            raise ValueError("a tensor beyond its storage")
        item = elements.itemsize
        steps = tuple(stride * item for stride in strides)
        return np.ndarray(shape, elements.dtype, elements, offset * item, steps)

    def _parameter(self, tensor: Any, *_: Any) -> Any:
        return tensor


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        (program,) = (name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
        folder = program.removesuffix("data.pkl") + "data"

        @functools.cache
        def read_storage(key: str, dtype: Any) -> np.ndarray:
            return np.frombuffer(archive.read(f"{folder}/{key}"), dtype)

        return Unpickler(io.BytesIO(archive.read(program)), read_storage).load()


def _read_legacy(file: BinaryIO) -> Any:
    """Reads the object twice: for the types of its storages, which come after it, and then with their elements."""
    dtypes: dict[str, Any] = {}
    take_type: Callable[[str, Any], None] = dtypes.__setitem__
    magic_number, _, _ = (Unpickler(file, take_type).load() for _ in range(3))
    if magic_number != MAGIC_NUMBER:
        raise ValueError("a pickle of something else")
    start = file.tell()
    _, keys = (Unpickler(file, take_type).load() for _ in range(2))
    storages = {}
    for key in keys:
        size = struct.unpack("<q", file.read(8))[0] * np.dtype(dtypes[key]).itemsize
        storages[key] = np.frombuffer(file.read(max(size, 0)), dtypes[key])
        if storages[key].nbytes != size:
            raise ValueError(f"truncated within storage {key}")
    file.seek(start)
    return Unpickler(file, lambda key, _: storages[key]).load()
