"""Unpickles PyTorch's objects without torch and without running anything that a file names.

Only tensors, parameters and plain containers are built. Every other name in a pickle gives a placeholder: a type of
ours that takes what a pickle does with it and keeps nothing. So a training script's scheduler or argparse namespace
beside the weights does no harm, whatever it is.
"""

from __future__ import annotations

import pickle
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

STORAGE_DTYPES = {
    "torch.HalfStorage": np.dtype(np.float16),
    "torch.FloatStorage": np.dtype(np.float32),
    "torch.DoubleStorage": np.dtype(np.float64),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.CharStorage": np.dtype(np.int8),
    "torch.ShortStorage": np.dtype(np.int16),
    "torch.IntStorage": np.dtype(np.int32),
    "torch.LongStorage": np.dtype(np.int64),
    "torch.ByteStorage": np.dtype(np.uint8),
    "torch.BoolStorage": np.dtype(np.bool_),
    "torch.ComplexFloatStorage": np.dtype(np.complex64),
    "torch.ComplexDoubleStorage": np.dtype(np.complex128),
    "torch.storage.UntypedStorage": np.dtype(np.uint8),  # of types that have no storage of their own
}


class Refused(ValueError):
    """The file holds something that is not read. The message says what; the caller adds the name of the file."""


class Storage(NamedTuple):
    """Memory that tensors view: its bytes (uint8), filled in after loading, and the type of its elements."""

    data: np.ndarray
    dtype: np.dtype


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
    """Reads one pickle.

    Attributes:
      storages: key -> storage, for every storage that a pickle names. Their bytes are not filled in; together they are
        at most as large as the file.
    """

    def __init__(self, file: BinaryIO, file_size: int) -> None:
        super().__init__(file)
        self.storages: dict[str, Storage] = {}
        self._bytes_left = file_size
        # What a pickle can call or name. Strings and bound methods have no attributes that it could set.
        self._allowed: dict[str, Any] = {
            "collections.OrderedDict": _Dict,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": self._parameter,
            "torch._utils._rebuild_parameter_with_state": self._parameter,
            **{name: name for name in STORAGE_DTYPES},
        }

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a global: ours, or a placeholder of its name. Nothing is imported."""
        full = f"{module}.{name}"
        return self._allowed.get(full) or type("Placeholder", (Placeholder,), {"name": full})

    def persistent_load(self, pid: Any) -> Any:
        """Returns what ("storage", type, key, device, number of elements[, view]) names; its bytes come later."""
        tag, kind, *rest = pid
        if tag == "module":  # the legacy format names modules so, with their source
            return kind
        if tag != "storage" or not isinstance(kind, str):  # of a type that NumPy does not have
            return Placeholder()
        key, _, count, *view = rest
        if any(view):  # PyTorch before 0.4
            raise Refused("a view of a storage")
        dtype = STORAGE_DTYPES[kind]
        if key not in self.storages:
            self._bytes_left -= count * dtype.itemsize
            if self._bytes_left < 0 or count < 0:
                raise Refused("its storages are larger than the file")
            self.storages[key] = Storage(np.empty(count * dtype.itemsize, np.uint8), dtype)
        return self.storages[key]

    def _tensor(self, storage: Any, offset: int, shape: Any, strides: Any, *_: Any) -> np.ndarray | Placeholder:
        if not isinstance(storage, Storage):
            return Placeholder()
        item = storage.dtype.itemsize
        steps = tuple(stride * item for stride in strides)
        return np.ndarray(shape, storage.dtype, storage.data, offset * item, steps)  # refuses views beyond the storage

    def _parameter(self, tensor: Any, *_: Any) -> Any:
        return tensor
