"""Hostile and damaged .pth files: no code runs, storages stay bounded, the error is one line."""

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
from cosnet_jax.interop.pth import MAGIC_NUMBER, read_pth, read_state_dict
from cosnet_jax.interop.unpickler import Placeholder, Unpickler

try:
    import torch
except ImportError:
    torch = None

LEGACY_START = b"".join(pickle.dumps(part, 2) for part in (MAGIC_NUMBER, 1001, {"little_endian": True}))
ORDERED_DICT = b"ccollections\nOrderedDict\n"


def legacy(program, keys=(), rest=b""):
    """Puts the pickle of an object into a legacy file."""
    return LEGACY_START + program + pickle.dumps(list(keys), 2) + rest


def zipped(program, storages=(), compression=zipfile.ZIP_STORED):
    """Puts the pickle of an object into a zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("a/data.pkl", program)
        for key, content in storages:
            archive.writestr(f"a/data/{key}", content)
    return file.getvalue()


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


@pytest.mark.parametrize("wrap", [legacy, zipped])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("function", [os.system, eval, shutil.rmtree, np.load, getattr])
def test_foreign_functions_are_never_called(tmp_path, wrap, protocol, function):
    marker = tmp_path / "ran"
    weights = {"a.weight": np.ones(0)}
    program = pickle.dumps({"model": weights, "x": OrderedDict(x=Call(function, f"touch {marker}"))}, protocol)
    path = tmp_path / "model.pth"
    path.write_bytes(wrap(program))
    assert isinstance(read_pth(path)["x"]["x"], Placeholder)
    assert not marker.exists()


def test_the_foreign_call_would_have_run(tmp_path):
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(Call(os.system, f"touch {marker}"), 2))
    assert marker.exists()


@pytest.mark.parametrize("wrap", [legacy, zipped])
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


@pytest.mark.parametrize("wrap", [legacy, zipped])
@pytest.mark.parametrize(
    "program",
    [
        b"\x82\x01.",  # an extension of copyreg
        b"ctorch._utils\n_rebuild_tensor_v2\nN}" + text("__defaults__") + b"K\x01\x85s\x86b.",
        b"ctorch\nFloatStorage\n}" + text("a") + b"K\x01sb.",
        b"ctorch\nFloatStorage\n)R.",
        ORDERED_DICT + b"}" + text("__setstate__") + b"K\x01sb.",
        tensor(storage(1)) + text("x") + b"K\x00s.",
        tensor(storage(0), shape=(0,)) + b"(K\x01(K\x01tNK\x00" + text("abcd") + b"tb.",
        storage(2**40) + b".",
        storage(2**70) + b".",
        storage(-1) + b".",
        b"".join(storage(200, str(key)) for key in range(100)) + b".",
        tensor(storage(4), shape=(5,)) + b".",
        tensor(storage(4), offset=4) + b".",
        tensor(storage(4), offset=-1) + b".",
        tensor(storage(4), shape=(2,), strides=(-1,)) + b".",
        tensor(storage(1), shape=(0, 2**61, 2**61), strides=(0,) * 3) + b".",
        b"X\xff\xff\xff\xff.",
        b"\x8d" + struct.pack("<Q", 2**62) + b".",
        b"]" * 300_000,
        b".",
    ],
)
def test_refused_programs(tmp_path, program, wrap):
    assert isinstance(read(tmp_path / "a.pth", wrap(b"\x80\x02" + program)), InputError)


def test_tensors_over_a_small_storage_take_its_memory_alone(tmp_path):
    program = b"\x80\x02" + tensor(storage(1), shape=(2**40,), strides=(0,)) + b"."
    array = read(tmp_path / "a.pth", zipped(program, [("0", bytes(4))]))
    assert array.shape == (2**40,) and array.base.nbytes == 4


def test_legacy_storages_must_match(tmp_path):
    program, values = b"\x80\x02" + tensor(storage(2), shape=(2,)) + b".", np.array([1, 2], "<f4").tobytes()

    def outcome(keys, *rest):
        result = read(tmp_path / "a.pth", legacy(program, keys, b"".join(rest)))
        return result.tolist() if isinstance(result, np.ndarray) else str(result)

    count = struct.pack("<q", 2)
    assert outcome(["0"], count, values) == [1, 2]
    assert "truncated" in outcome(["0"], count, values[:-1])
    assert "damaged" in outcome(["0"], count[:5])
    assert "not those that follow" in outcome(["1"], count, values)
    for wrong in (-1, 0, 3, 2**62):
        assert f"has {wrong} elements" in outcome(["0"], struct.pack("<q", wrong), values)


def test_zip_storages_must_match(tmp_path):
    program, path = b"\x80\x02" + tensor(storage(2), shape=(2,)) + b".", tmp_path / "a.pth"
    assert read(path, zipped(program, [("0", np.array([1, 2], "<f4").tobytes())])).tolist() == [1, 2]
    assert "truncated" in str(read(path, zipped(program, [("0", bytes(7))])))
    assert "damaged" in str(read(path, zipped(program, [("1", bytes(8))])))
    whole = bytearray(zipped(program, [("0", b"abcdefgh")]))
    whole[whole.index(b"abcdefgh")] ^= 1
    assert "Bad CRC-32" in str(read(path, bytes(whole)))
    assert "compressed" in str(read(path, zipped(b"]" * 50_000_000, compression=zipfile.ZIP_DEFLATED)))


def sample(form):
    """Returns a small checkpoint in either format."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 300))
    file = io.BytesIO()
    content = {"epoch": 3, "model": model.state_dict(), "view": torch.arange(20.0)[::3], "size": torch.Size([3])}
    torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    return file.getvalue()


@pytest.mark.torch
@pytest.mark.parametrize("form", ["legacy", "zip"])
def test_damage_never_escapes(tmp_path, form):
    """A damaged file is refused, or still valid (legacy files have no checksum over their weights)."""
    rng, content, errors = np.random.default_rng(1), sample(form), 0
    assert read(tmp_path / "a.pth", content)["epoch"] == 3
    for cut in [*range(0, 200, 7), *rng.integers(0, len(content), 50), len(content) - 1]:
        assert isinstance(read(tmp_path / "a.pth", content[:cut]), InputError), cut
    for attempt in range(400):
        damaged = bytearray(content)
        reach = len(damaged) if attempt % 2 else 2500  # half of the damage is in the pickles
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(0, min(reach, len(damaged))))
            match rng.integers(0, 4):
                case 0:
                    damaged[at] ^= 1 << int(rng.integers(0, 8))
                case 1:
                    damaged[at] = int(rng.integers(0, 256))
                case 2:
                    damaged[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0"])
                case 3:
                    damaged[at:at] = damaged[at : at + int(rng.integers(1, 30))]
        errors += isinstance(read(tmp_path / "a.pth", bytes(damaged)), InputError)
    assert 150 < errors < 400


def test_random_programs_never_escape(tmp_path):
    """Random instructions with plausible arguments get further than random bytes."""
    rng = np.random.default_rng(2)
    pieces = [bytes([opcode]) for opcode in b"()]}t\x85\x86\x87aesuRbQ\x94\x81o"]
    pieces += [b"q\x00", b"q\x01", b"h\x00", b"h\x01", b"K\x01", b"K\x02", b"N", b"\x88", b"G" + bytes(8), b"\x93"]
    pieces += [text("storage"), text("0"), text("cpu"), storage(1), storage(2, "1", "LongStorage"), tensor(storage(1))]
    pieces += [ORDERED_DICT, b"ctorch\nByteStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"cposix\nsystem\n"]
    pieces += [b"ctorch._utils\n_rebuild_parameter\n", b"\x8a\x08" + b"\xff" * 8]
    methods, results = dict(vars(Unpickler)), []
    for attempt in range(800):
        program = b"".join(pieces[i] for i in rng.integers(0, len(pieces), rng.integers(1, 25)))
        content = b"\x80\x02" + program + b"."
        whole = zipped(content, [("0", bytes(4)), ("1", bytes(16))]) if attempt % 2 else legacy(content)
        results.append(read(tmp_path / "a.pth", whole))
    assert 50 < sum(isinstance(result, InputError) for result in results) < 790
    assert dict(vars(Unpickler)) == methods


def test_reading_does_not_need_torch():
    code = "import sys, cosnet_jax.interop.pth; sys.exit(sys.modules.get('torch') is not None)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_whole_models_are_named(tmp_path):
    (tmp_path / "a.pth").write_bytes(zipped(pickle.dumps(Call(shutil.copy, "a"), 2)))
    with pytest.raises(InputError, match=r"a\.pth: found a shutil\.copy; expected a state dict"):
        read_state_dict(tmp_path / "a.pth")
