"""Hostile and damaged .pth files: no code runs, memory stays bounded, the error is one line."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.interop.pth import MAGIC_NUMBER, Placeholder, Unpickler, read_pth

LEGACY_START = b"".join(pickle.dumps(part, 2) for part in (MAGIC_NUMBER, 1001, {"little_endian": True}))
ORDERED_DICT = b"ccollections\nOrderedDict\n"


def legacy(program, keys=(), storages=b""):
    """Puts the pickle of an object into a legacy file."""
    return LEGACY_START + program + pickle.dumps(list(keys), 2) + storages


def zipped(program, storages=()):
    """Puts the pickle of an object into a zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", program)
        for key, content in storages:
            archive.writestr(f"a/data/{key}", content)
    return file.getvalue()


both_formats = pytest.mark.parametrize("wrap", [legacy, lambda program: zipped(program, [("0", bytes(16))])])


def number(value):
    return pickle.dumps(value, 2)[2:-1]


def text(value):
    return pickle.BINUNICODE + struct.pack("<I", len(value.encode())) + value.encode()


def storage(count, key="0", kind="FloatStorage"):
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(view, offset=0, shape=(1,), strides=(1,)):
    arguments = view + number(offset) + b"(" + b"".join(map(number, shape)) + b"t("
    arguments += b"".join(map(number, strides)) + b"t\x89" + ORDERED_DICT + b")R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def read(path, content):
    """Reads a file of this content; returns what it holds or the InputError, which must be one line of some length."""
    path.write_bytes(content)
    try:
        return read_pth(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error) and len(str(error)) < len(str(path)) + 400
        return error


class Call:
    """An object whose pickle calls `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@both_formats
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("function", [os.system, eval, shutil.rmtree, getattr])
def test_foreign_functions_are_never_called(tmp_path, wrap, protocol, function):
    marker = tmp_path / "ran"
    program = pickle.dumps({"x": OrderedDict(x=Call(function, f"touch {marker}"))}, protocol)
    assert isinstance(read(tmp_path / "model.pth", wrap(program))["x"]["x"], Placeholder)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Call(os.system, f"touch {marker}"), protocol))
    assert marker.exists()  # the call would have run


@both_formats
@pytest.mark.parametrize(
    "program",
    [
        b"(iposix\nsystem\n.",
        b"(cposix\nsystem\n" + text("touch x") + b"o.",
        b"cposix\nsystem\n)\x81}b.",
        b"cbuiltins\ngetattr\n(" + ORDERED_DICT + text("mro") + b"tR(" + text("x") + b"tR.",
        b"cbuiltins\nset\n(](K\x01etR.",
        b"ccollections\ndefaultdict\n(cbuiltins\nlist\ntR" + text("a") + b"K\x01s.",
    ],
)
def test_whatever_a_foreign_object_takes_it_keeps_nothing(tmp_path, program, wrap):
    result = read(tmp_path / "a.pth", wrap(b"\x80\x02" + program))
    assert isinstance(result, Placeholder) and vars(result) == {}


@both_formats
@pytest.mark.parametrize(
    "program",
    [
        b"\x82\x01.",  # an extension of copyreg
        b"ctorch._utils\n_rebuild_tensor_v2\nN}" + text("__defaults__") + b"K\x01\x85s\x86b.",
        b"ctorch\nFloatStorage\n}" + text("a") + b"K\x01sb.",
        b"ctorch\nFloatStorage\n)R.",
        ORDERED_DICT + b"}" + text("__setstate__") + b"K\x01sb.",
        storage(1, "../data.pkl") + b".",
        tensor(storage(4), shape=(5,)) + b".",
        tensor(storage(4), offset=4) + b".",
        tensor(storage(4), shape=(2,), strides=(-1,)) + b".",
        tensor(storage(1), shape=(0, 2**61, 2**61), strides=(0,) * 3) + b".",
        b"\x8d" + struct.pack("<Q", 2**62) + b".",
        b"]" * 300_000,
        b".",
    ],
)
def test_refused_programs(tmp_path, program, wrap):
    before = dict(vars(Unpickler))
    assert isinstance(read(tmp_path / "a.pth", wrap(b"\x80\x02" + program)), InputError)
    assert dict(vars(Unpickler)) == before


def test_tensors_over_a_small_storage_take_its_memory_alone(tmp_path):
    program = b"\x80\x02" + tensor(storage(2**60), shape=(2**40,), strides=(0,)) + b"."
    array = read(tmp_path / "a.pth", zipped(program, [("0", bytes(4))]))
    assert array.shape == (2**40,) and array.base.nbytes == 4


def test_storages_must_be_whole(tmp_path):
    program, values = b"\x80\x02" + tensor(storage(2), shape=(2,)) + b".", np.array([1, 2], "<f4").tobytes()
    path, count = tmp_path / "a.pth", struct.pack("<q", 2)
    assert read(path, legacy(program, ["0"], count + values)).tolist() == [1, 2]
    assert read(path, zipped(program, [("0", values)])).tolist() == [1, 2]
    for keys, rest in ((["0"], count + values[:-1]), (["0"], count[:5]), (["1"], count + values), ([], b"")):
        assert isinstance(read(path, legacy(program, keys, rest)), InputError), (keys, rest)
    for wrong in (-1, 0, 2**62):
        assert isinstance(read(path, legacy(program, ["0"], struct.pack("<q", wrong) + values)), InputError), wrong
    for storages in ([("0", bytes(7))], [("1", bytes(8))]):
        assert isinstance(read(path, zipped(program, storages)), InputError), storages
    whole = bytearray(zipped(program, [("0", b"abcdefgh")]))
    whole[whole.index(b"abcdefgh")] ^= 1
    assert "Bad CRC-32" in str(read(path, bytes(whole)))


def test_reading_does_not_need_torch():
    code = "import sys, cosnet_jax.interop.pth; sys.exit(sys.modules.get('torch') is not None)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
