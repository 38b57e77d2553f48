"""Hostile and damaged .pth files: no code runs, memory and time stay bounded, and the error names the file."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.interop.pth import read_pth

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch, which is not installed, writes the files")

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
LEGACY_START = b"".join(pickle.dumps(part, 2) for part in (MAGIC, 1001, SYSTEM))
NO_STORAGES = pickle.dumps([], 2)
ORDERED_DICT = b"ccollections\nOrderedDict\n"
MEBIBYTE = 2**20


def legacy(program, rest=NO_STORAGES):
    """Puts the pickle of an object into a legacy file."""
    return LEGACY_START + program + rest


def zipped(program, storages=()):
    """Puts the pickle of an object into a zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", program)
        for key, content in storages:
            archive.writestr(f"a/data/{key}", content)
    return file.getvalue()


def text(value):
    return pickle.BINUNICODE + struct.pack("<I", len(value.encode())) + value.encode()


def storage(count, key="0", kind="FloatStorage"):
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(count) + b"tQ"


def number(value):
    return pickle.dumps(value, 2)[2:-1]


def tensor(view, offset=0, shape=(1,), strides=(1,)):
    arguments = view + number(offset) + b"(" + b"".join(map(number, shape)) + b"t("
    arguments += b"".join(map(number, strides)) + b"t\x89" + ORDERED_DICT + b")R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def read(path, content, seconds=10.0):
    """Reads a file of this content, checks time and memory, and returns what the file holds or the InputError.

    The bound on memory is the one that read_pth states, plus half a mebibyte for what the modules themselves keep.
    """
    path.write_bytes(content)
    tracemalloc.start()
    start = time.monotonic()
    try:
        result = read_pth(path)
    except InputError as error:
        result = error
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
        assert len(str(error)) < len(str(path)) + 400
    finally:
        duration = time.monotonic() - start
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert duration < seconds
    assert peak < 16.5 * MEBIBYTE + 6 * len(content)
    return result


class Call:
    """An object whose pickle calls `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("format", ["legacy", "zip", "plain pickle"])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, "'posix.system'"),
        (eval, "eval'"),
        (shutil.rmtree, "'shutil.rmtree'"),
        (np.load, "'numpy.load'"),
        (getattr, "getattr'"),
        (np.float64, "'numpy.float64'"),
    ],
)
def test_functions_are_named_and_not_called(tmp_path, format, protocol, function, name):
    marker = tmp_path / "ran"
    program = pickle.dumps({"model": OrderedDict(x=Call(function, f"touch {marker}"))}, protocol)
    path = tmp_path / "model.pth"
    path.write_bytes({"legacy": legacy, "zip": zipped, "plain pickle": bytes}[format](program))
    with pytest.raises(InputError, match="only tensors and plain containers are read") as error:
        read_pth(path)
    assert str(error.value).startswith(f"{path}: refused to load '")
    assert name in str(error.value)
    assert not marker.exists()


def test_the_refused_call_would_have_run(tmp_path):
    """Otherwise the test above would pass with pickles that do nothing."""
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(Call(os.system, f"touch {marker}"), 2))
    assert marker.exists()


@pytest.mark.parametrize("wrap", [legacy, zipped])
@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"(iposix\nsystem\n.", "'posix.system'"),
        (b"ctorch.serialization\nload\n" + text("x") + b"\x85R.", "'torch.serialization.load'"),
        (b"ctorch.nn.modules.linear\nLinear\n)R.", "'torch.nn.modules.linear.Linear'"),
        (b"icollections\nOrderedDict\n.", "INST"),
        (ORDERED_DICT + b")\x81.", "NEWOBJ"),
        (b"\x82\x01.", "EXT1"),
        (text("torch") + text("x" * 1000) + b"\x93.", r"'torch\.x+\.\.\.'"),
        (b"]]\x93.", "a global whose name is not a string"),
        (text("os") + text("system\nerror: \x1b[31m") + b"\x93.", r"os\.system\\nerror: \\x1b"),
        (b"ctorch\nFloatStorage\n)R.", "calls the storage type FloatStorage"),
        (text("eval") + b")R.", "calls something that is not a constructor"),
        (b"]}b.", "sets the state of a list"),
        (b"ctorch._utils\n_rebuild_tensor_v2\nN}" + text("__defaults__") + b"K\x01\x85s\x86b.", "state of a Global"),
        (tensor(storage(1)) + b"]K\x00s.", "sets items of a ndarray"),
        (b"}]K\x01s.", "a list as a dictionary key"),
        (b"})K\x01s.", "a tuple as a dictionary key"),
        (b"]K\x01K\x02s.", "sets items of a list"),
        (b"}K\x01a.", "appends to a dict"),
        (text("storage") + b"Q.", "a persistent id"),
        (b"(" + text("module") + b"))))tQ.", "a persistent id"),
        (storage(1, kind="ComplexFloatStorage") + b".", "'torch.ComplexFloatStorage'"),
        (storage(2) + b"0" + b".", "POP"),
        (storage(2) + storage(3) + b".", "declared twice"),
        (storage(2) + storage(2, kind="IntStorage") + b".", "declared twice"),
        (storage(-1) + b".", "not a natural number"),
        (storage(2**40) + b".", "storages need 4398046511104 bytes"),
        (storage(2**70) + b".", "not a natural number"),
        (tensor(storage(4), shape=(5,)) + b".", "damaged"),
        (tensor(storage(4), shape=(2,), strides=(4,)) + b".", "damaged"),
        (tensor(storage(4), offset=4) + b".", "damaged"),
        (tensor(storage(4), offset=-1) + b".", "not a natural number"),
        (tensor(storage(4), offset=2**61) + b".", "damaged"),
        (tensor(storage(4), shape=(2,), strides=(-1,)) + b".", "not a natural number"),
        (tensor(storage(4), shape=(2,), strides=()) + b".", "damaged"),
        (tensor(storage(4), shape=(1,) * 65, strides=(1,) * 65) + b".", "damaged"),
        (tensor(storage(1), shape=(2**40,), strides=(0,)) + b".", "a tensor of more than 1048576 bytes"),
        (tensor(storage(1), shape=(2**40,) * 64, strides=(0,) * 64) + b".", "a tensor of more than 1048576 bytes"),
        (tensor(storage(1), shape=(0, 2**61, 2**61), strides=(0,) * 3) + b".", "damaged"),
        (tensor(text("storage")) + b".", "a tensor whose storage"),
        (b"ctorch._utils\n_rebuild_parameter\n]\x85R.", "a parameter that holds no tensor"),
        (b"(K\x01", "damaged"),
        (b"q\x00.", "damaged"),
        (b"h\x00.", "damaged"),
        (b"t.", "damaged"),
        (b".", "damaged"),
        (b"\xff.", "damaged"),
    ],
)
def test_refused_programs(tmp_path, program, message, wrap):
    with pytest.raises(InputError, match=message):
        raise read(tmp_path / "a.pth", wrap(b"\x80\x02" + program))


SHARED = b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(60))
PAIRS = b"](" + b"](K\x01K\x02e" * 20_000 + b"e"
BOMBS = {
    "lists": b"]" * 300_000,
    "dicts": b"}" * 300_000,
    "ordered dicts": ORDERED_DICT + b"q\x00" + b"h\x00)R" * 150_000,
    "marks": b"(" * 300_000,
    "memo": b"]" + b"\x94" * 300_000,
    "puts": b"]" + b"".join(b"r" + struct.pack("<I", i) for i in range(200_000)),
    "integers": b"M\xff\xff" * 400_000,
    "strings": b"\x8c\x02ab" * 350_000,
    "one tuple": b"(" + b"K\x01" * 400_000 + b"t",
    "long integer": b"\x8b" + struct.pack("<i", 600_000) + b"\x7f" * 600_000,
    "decimal integer": b"L" + b"9" * 600_000 + b"L\n",
    "declared string": b"X\xff\xff\xff\xff",
    "declared long string": b"\x8d" + struct.pack("<Q", 2**62),
    "declared longest string": b"\x8d" + struct.pack("<Q", 2**64 - 1),
    "declared integer": b"\x8b\xff\xff\xff\x7f",
    "declared bytes": b"\x8e" + struct.pack("<Q", 2**62),
    "declared bytearray": b"\x96" + struct.pack("<Q", 2**62),
    "declared frame": b"\x95" + struct.pack("<Q", 2**63) + b"\xff",
    "endless line": b"c" + b"a" * 600_000,
    "hash of shared tuples": b")q\x00" + SHARED + b"}h\x3bK\x01s",
    "name of shared tuples": b")q\x00" + SHARED + b"h\x3bh\x3b\x93",
    "colliding keys": b"}(" + b"".join(number(i * (2**61 - 1)) + b"K\x00" for i in range(30_000)) + b"u",
    "items again and again": PAIRS + b"q\x00" + ORDERED_DICT + b"q\x01" + b"h\x01h\x00\x85R" * 100_000,
    "storages as large as the file": b"".join(storage(200, str(i)) for i in range(100)),
}


@pytest.mark.parametrize("wrap", [pytest.param(legacy, marks=pytest.mark.slow), zipped])
@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path, name, wrap):
    assert isinstance(read(tmp_path / "a.pth", wrap(b"\x80\x02" + BOMBS[name] + b".")), InputError)


@pytest.mark.parametrize("wrap", [legacy, zipped])
def test_odd_but_plain_contents_are_fine(tmp_path, wrap):
    result = read(tmp_path / "a.pth", wrap(b"\x80\x02)q\x00" + SHARED + b"."))
    for _ in range(60):
        assert result[0] is result[1]
        result = result[0]
    deep = read(tmp_path / "a.pth", wrap(b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b"."))
    assert len(deep) == 1
    del deep  # frees 50,000 levels without recursion
    assert read(tmp_path / "a.pth", wrap(b"\x80\x02]r\xff\xff\xff\xff.")) == []  # the largest memo index
    # A frame that ends within the argument of BININT. A machine that forgets what it has buffered when a frame ends
    # would run what is in the string: LONG_BINPUT with an index of 2^31.
    hidden = (b"]r\x7f\x7f\x7f\x7f.").ljust(ord("N"), b".")
    framed = b"\x95" + struct.pack("<Q", 3) + b"]J\x01\x01\x01\x01\x8cN" + hidden + b"."
    assert read(tmp_path / "a.pth", wrap(b"\x80\x04" + framed)) == hidden.decode()
    wide = "\U0001f600" + "a" * MEBIBYTE  # four bytes a character in memory
    assert read(tmp_path / "a.pth", wrap(b"\x80\x02" + text(wide) + b".")) == wide
    cycle = read(tmp_path / "a.pth", wrap(b"\x80\x02]q\x00h\x00a."))
    assert cycle[0] is cycle


def test_legacy_storages_must_match(tmp_path):
    program = b"\x80\x02" + tensor(storage(2), shape=(2,)) + b"."
    values = np.array([1, 2], "<f4").tobytes()
    path = tmp_path / "a.pth"

    def outcome(keys, *counts_and_values):
        result = read(path, legacy(program, pickle.dumps(keys, 2) + b"".join(counts_and_values)))
        return result.tolist() if isinstance(result, np.ndarray) else str(result)

    count = struct.pack("<q", 2)
    assert outcome(["0"], count, values) == [1, 2]
    assert "truncated" in outcome(["0"], count, values[:-1])
    assert "truncated" in outcome(["0"], count[:5])
    assert "1 bytes follow" in outcome(["0"], count, values, b"x")
    for wrong in (-1, 0, 3, 2**62, -(2**63)):
        assert f"'0' has {wrong} elements, its tensors expect 2" in outcome(["0"], struct.pack("<q", wrong), values)
    assert "not those that follow" in outcome(["0", "0"], count, values, count, values)
    assert "not those that follow" in outcome([], count, values)
    assert "not a list of names" in outcome({"0": 1}, count, values)
    assert "not a list of names" in outcome([0], count, values)


def test_big_endian_is_refused(tmp_path):
    start = b"".join(pickle.dumps(part, 2) for part in (MAGIC, 1001, SYSTEM | {"little_endian": False}))
    assert "big-endian" in str(read(tmp_path / "a.pth", start + pickle.dumps({}, 2) + NO_STORAGES))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, 2))
        archive.writestr("a/byteorder", "big")
    assert "big-endian" in str(read(tmp_path / "a.pth", file.getvalue()))


def test_zip_storages_must_match(tmp_path):
    program = b"\x80\x02" + tensor(storage(2), shape=(2,)) + b"."
    path = tmp_path / "a.pth"
    assert read(path, zipped(program, [("0", np.array([1, 2], "<f4").tobytes())])).tolist() == [1, 2]
    assert "has 9 bytes, its tensors expect 8" in str(read(path, zipped(program, [("0", bytes(9))])))
    assert "damaged" in str(read(path, zipped(program, [("1", bytes(8))])))
    whole = bytearray(zipped(program, [("0", b"abcdefgh")]))
    whole[whole.index(b"abcdefgh")] ^= 1
    assert "Bad CRC-32" in str(read(path, bytes(whole)))


def test_zip_bombs(tmp_path):
    path = tmp_path / "a.pth"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"]" * 50_000_000)
    assert "compressed" in str(read(path, file.getvalue()))

    # The directory claims that a stored entry of a few bytes has 4 GB.
    whole = bytearray(zipped(b"\x80\x02}."))
    directory = whole.index(b"PK\x01\x02")
    whole[directory + 20 : directory + 28] = struct.pack("<II", 2**32 - 2, 2**32 - 2)
    assert "compressed" in str(read(path, bytes(whole)))

    # 60,000 directory entries, all of one local file.
    entry = bytes(zipped(b"\x80\x02}.")[directory : directory + 46 + len("a/data.pkl")])
    local = bytes(whole[:directory])
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 60_000, 60_000, 60_000 * len(entry), len(local), 0)
    assert "zip directory is too large" in str(read(path, local + entry * 60_000 + end))


def sample(form):
    """Returns a small checkpoint in either format."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 300))
    file = io.BytesIO()
    content = {"epoch": 3, "lr": 0.1, "model": model.state_dict(), "view": torch.arange(20.0)[::3]}
    torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    return file.getvalue()


@needs_torch
@pytest.mark.parametrize("form", ["legacy", "zip"])
def test_every_truncation_is_an_error(tmp_path, form):
    content = sample(form)
    assert read(tmp_path / "a.pth", content)["epoch"] == 3
    cuts = [*range(0, 200, 7), *np.random.default_rng(0).integers(0, len(content), 150), len(content) - 1]
    for cut in cuts:
        assert isinstance(read(tmp_path / "a.pth", content[:cut], seconds=2), InputError), cut


@needs_torch
@pytest.mark.parametrize("form", ["legacy", "zip"])
def test_random_damage_never_escapes(tmp_path, form):
    """A damaged file is refused, or it is still valid (legacy files have no checksum over their weights)."""
    rng = np.random.default_rng(1)
    content = sample(form)
    errors = 0
    for round in range(400):
        damaged = bytearray(content)
        reach = len(damaged) if round % 2 else 2500  # half of the damage is in the pickles
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
        errors += isinstance(read(tmp_path / "a.pth", bytes(damaged), seconds=2), InputError)
    assert 200 < errors < 400


def test_random_programs_never_escape(tmp_path):
    """Random instructions with plausible arguments get further than random bytes."""
    rng = np.random.default_rng(2)
    pieces = [bytes([opcode]) for opcode in b"()]}t\x85\x86\x87aesuRbQ\x94"]
    pieces += [b"q\x00", b"q\x01", b"h\x00", b"h\x01", b"K\x01", b"K\x02", b"N", b"\x88", b"G" + bytes(8), b"\x93"]
    pieces += [text("storage"), text("0"), text("cpu"), storage(1), storage(2, "1", "LongStorage"), tensor(storage(1))]
    pieces += [ORDERED_DICT, b"ctorch\nByteStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n"]
    pieces += [b"ctorch._utils\n_rebuild_parameter\n", b"ctorch.nn.parameter\nParameter\n", b"\x8a\x08" + b"\xff" * 8]
    results = []
    for round in range(800):
        program = b"".join(pieces[i] for i in rng.integers(0, len(pieces), rng.integers(1, 25)))
        content = b"\x80\x02" + program + b"."
        storages = [("0", bytes(4)), ("1", bytes(16))]
        results.append(read(tmp_path / "a.pth", zipped(content, storages) if round % 2 else legacy(content), seconds=2))
    assert 50 < sum(isinstance(result, InputError) for result in results) < 750


def test_reading_does_not_need_torch():
    code = "import sys, cosnet_jax.interop.pth; sys.exit(sys.modules.get('torch') is not None)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
