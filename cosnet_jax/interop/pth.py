"""Reads and writes PyTorch's `.pth` files without torch, and without trusting them.

A file has one of two formats. The zip format (PyTorch >= 1.6) is an uncompressed archive of `<name>/data.pkl` and one
`<name>/data/<key>` for each storage. The legacy format is a row of five pickles: a magic number, a protocol version, a
description of the system, the object, and the list of its storages' keys. The storages follow; each is an int64 number
of elements, then the elements.
"""

from __future__ import annotations

import io
import math
import mmap
import os
import pickle
import struct
import zipfile
from typing import IO, Any, BinaryIO

import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.files import atomic_write, expanded
from cosnet_jax.interop.unpickler import STORAGE_DTYPES, Refused, Unpickler

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_ZIP_START = b"PK\x03\x04"
_PICKLE_START = b"\x80"
_CHUNK = 2**20


def read_pth(path: str | os.PathLike[str]) -> Any:
    """Reads a `.pth` file as plain containers of NumPy arrays.

    No code in the file runs. Reading takes at most about 16 MiB plus six times the size of the file of memory.

    Args:
        path: a file that `torch.save` wrote, in the zip or the legacy format.

    Returns:
        The saved object: nested dicts (an OrderedDict becomes a dict), lists, tuples, numbers and strings. Tensors and
        parameters become arrays of their dtype (bfloat16 as `ml_dtypes.bfloat16`). Tensors that shared memory still
        share it.

    Raises:
        InputError: the file is missing or damaged, has another format, or holds something else than tensors and plain
            containers.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); expected a .pth file of PyTorch weights"
        ) from error
    with file:
        try:
            return _read(file)
        except Refused as error:
            raise InputError(f"{path}: {error}") from error
        except Exception as error:  # the standard library's parsers can raise anything on a damaged file
            cause = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise InputError(f"{path}: damaged, or not written by torch.save ({cause}); download it again") from error


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the state dict of a `.pth` file.

    The state dict is the file's value of "model" or "state_dict", or the whole content. If all names start with
    `module.` (torch.nn.DataParallel adds it), this prefix is removed.

    Args:
        path: see `read_pth`.

    Returns:
        Name -> array.

    Raises:
        InputError: `read_pth` fails, or there is no state dict in these locations.
    """
    content = read_pth(path)
    locations = {"": content}
    if isinstance(content, dict):
        locations |= {f' under "{key}"': content[key] for key in ("model", "state_dict") if key in content}
    for state_dict in reversed(locations.values()):
        if isinstance(state_dict, dict) and state_dict and all(map(_is_named_array, state_dict.items())):
            if all(name.startswith("module.") for name in state_dict):
                return {name.removeprefix("module."): value for name, value in state_dict.items()}
            return dict(state_dict)
    found = type(content).__name__
    if isinstance(content, dict):
        found = "a dict of " + (", ".join(repr(key)[:40] for key in list(content)[:8]) or "nothing")
    raise InputError(f'{path}: found {found}; expected a state dict, at the top or under "model" or "state_dict"')


def write_pth(path: str | os.PathLike[str], content: Any) -> None:
    """Writes a zip-format `.pth` file that `torch.load(path, weights_only=True)` opens.

    Args:
        path: the file to write. An existing file is replaced when the new one is complete.
        content: a state dict, or any nesting of dicts, lists, tuples, numbers and strings with NumPy arrays, which
            become tensors of the same dtype.

    Raises:
        InputError: a value has another type, PyTorch has no storage for the dtype of an array, or the file cannot be
            written.
    """
    program, storages = _pickle(content)
    with atomic_write(expanded(path)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), program)
        archive.writestr(zipfile.ZipInfo("archive/byteorder"), b"little")
        for key, array in enumerate(storages):
            archive.writestr(zipfile.ZipInfo(f"archive/data/{key}"), array.tobytes())
        archive.writestr(zipfile.ZipInfo("archive/version"), b"3\n")


def _is_named_array(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], np.ndarray)


def _read(file: BinaryIO) -> Any:
    start = file.read(len(_ZIP_START))
    file.seek(0)
    if start == _ZIP_START:
        return _read_zip(file)
    if start.startswith(_PICKLE_START):
        return _read_legacy(file)
    raise Refused("expected a file written by torch.save (zip or legacy pickle format)")


def _read_legacy(file: BinaryIO) -> Any:
    size = os.fstat(file.fileno()).st_size
    unpickler = Unpickler(size)
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for expected in (_MAGIC_NUMBER, _LEGACY_PROTOCOL):
            found = unpickler.load(mapped)
            if type(found) is not int or found != expected:
                raise Refused("a pickle, but not one that torch.save wrote")
        if not unpickler.load(mapped)["little_endian"]:
            raise Refused("written on a big-endian machine")
        content = unpickler.load(mapped)
        keys = unpickler.load(mapped)
        file.seek(mapped.tell())
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise Refused("the list of storages is not a list of names")
    if sorted(keys) != sorted(unpickler.storages):
        raise Refused("the storages that its tensors use are not those that follow")
    for key in keys:
        storage = unpickler.storages[key]
        count = np.zeros(1, "<i8")
        _fill(count.view(np.uint8), count.dtype, file)
        expected = storage.data.size // storage.dtype.itemsize
        if count[0] != expected:
            raise Refused(f"storage {key[:40]!r} has {count[0]} elements, its tensors expect {expected}")
        _fill(storage.data, storage.dtype, file)
    if file.tell() != size:
        raise Refused(f"{size - file.tell()} bytes follow its last storage")
    return content


def _read_zip(file: BinaryIO) -> Any:
    size = os.fstat(file.fileno()).st_size
    # zipfile reads the directory in one piece and takes about 20 times its size of memory.
    limited = _LimitedReads(file, 2**20 + size // 16)
    with zipfile.ZipFile(limited) as archive:
        limited.limit = size
        entries = {entry.filename: entry for entry in archive.infolist()}
        programs = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(programs) != 1:
            raise Refused("a zip file, but not one that torch.save wrote (no single data.pkl)")
        root = programs[0].removesuffix("data.pkl")

        def read(name: str, expected: int | None = None) -> IO[bytes]:
            entry = entries[name]
            if entry.compress_type != zipfile.ZIP_STORED or not entry.compress_size == entry.file_size <= size:
                raise Refused(f"{name[:60]!r} is compressed: torch.save does not do that")
            if expected is not None and entry.file_size != expected:
                raise Refused(f"{name[:60]!r} has {entry.file_size} bytes, its tensors expect {expected}")
            return archive.open(entry)

        if root + "byteorder" in entries:
            with read(root + "byteorder") as stream:
                if stream.read(16) != b"little":
                    raise Refused("written on a big-endian machine")
        with read(programs[0]) as stream:
            program = io.BytesIO(stream.read())
        unpickler = Unpickler(size)
        content = unpickler.load(program)
        for key, storage in unpickler.storages.items():
            with read(f"{root}data/{key}", expected=storage.data.size) as stream:
                _fill(storage.data, storage.dtype, stream)
    return content


class _LimitedReads:
    """A file for zipfile that refuses to read more than `limit` bytes at once."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self.limit = limit
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, count: int = -1) -> bytes:
        if count < 0:
            count = os.fstat(self._file.fileno()).st_size - self._file.tell()
        if count > self.limit:
            raise Refused("its zip directory is too large for a file of this size")
        return self._file.read(count)


def _fill(data: np.ndarray, dtype: np.dtype, stream: Any) -> None:
    """Reads the bytes of a storage from the stream into `data` (uint8), piece by piece."""
    rest = memoryview(data)
    while rest:
        count = stream.readinto(rest[:_CHUNK])
        if not count:
            raise Refused("truncated: the file ends within a storage")
        rest = rest[count:]
    if dtype == np.bool_:
        np.not_equal(data, 0, out=data.view(np.bool_))  # NumPy misreads bools that are not 0 or 1


def _pickle(content: Any) -> tuple[bytes, list[np.ndarray]]:
    """Returns the protocol-2 pickle that torch.save would write for `content`, and its storages in order."""
    storages: list[np.ndarray] = []
    kinds = {dtype: name for name, dtype in STORAGE_DTYPES.items()}

    def text(value: str) -> bytes:
        encoded = value.encode()
        return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded

    def name(value: str) -> bytes:
        module, _, attribute = value.rpartition(".")
        return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()

    def plain(value: Any) -> bytes:
        """Pickles a number, bool or None, without the pickle's header and stop."""
        return pickle.dumps(value, protocol=2)[2:-1]

    def sequence(values: tuple[bytes, ...]) -> bytes:
        return pickle.MARK + b"".join(values) + pickle.TUPLE

    def tensor(array: np.ndarray) -> bytes:
        dtype = array.dtype.newbyteorder("=")
        if dtype not in kinds:
            raise InputError(f"an array of {array.dtype} cannot be written: PyTorch's files have no such storage")
        array = np.asarray(array, dtype, order="C")
        storages.append(array)
        key = str(len(storages) - 1)
        storage = sequence((text("storage"), name(kinds[dtype]), text(key), text("cpu"), plain(array.size)))
        shape = sequence(tuple(map(plain, array.shape)))
        strides = sequence(tuple(plain(math.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)))
        hooks = name("collections.OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
        arguments = (storage + pickle.BINPERSID, plain(0), shape, strides, plain(False), hooks)
        return name("torch._utils._rebuild_tensor_v2") + sequence(arguments) + pickle.REDUCE

    def emit(value: Any) -> bytes:
        if isinstance(value, dict):
            items = b"".join(emit(key) + emit(item) for key, item in value.items())
            return pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS
        if isinstance(value, list):
            return pickle.EMPTY_LIST + pickle.MARK + b"".join(map(emit, value)) + pickle.APPENDS
        if isinstance(value, tuple):
            return sequence(tuple(map(emit, value)))
        if isinstance(value, np.ndarray | np.generic):
            return tensor(np.asarray(value))
        if isinstance(value, str):
            return text(value)
        if value is None or type(value) in (bool, int, float):
            return plain(value)
        raise InputError(f"a {type(value).__name__} cannot be written: expected arrays and plain containers")

    return pickle.PROTO + b"\x02" + emit(content) + pickle.STOP, storages
