"""A kind of input whose reader does everything that a reader must not do: it tests the harness."""

from __future__ import annotations

import ctypes
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

from faults.kinds import Kind

ACTS = (b"nothing", b"crash", b"hang", b"write", b"memory", b"traceback")


def make(folder: Path) -> list[str]:
    (folder / "act.txt").write_bytes(ACTS[0])
    return ["act.txt"]


def choose(_: bytes, __: Sequence[bytes], rng: random.Random) -> bytes:
    return rng.choice(ACTS)


def read(_: Path, file: Path) -> None:
    act = file.read_bytes()
    if act == b"crash":
        ctypes.string_at(0)
    elif act == b"hang":
        time.sleep(1000)
    elif act == b"write":
        Path(os.environ["FAULTS_OUTSIDE"]).write_text("x")
    elif act == b"memory":
        bytes(b"x" * (2 * 2**30))
    elif act == b"traceback":
        raise ZeroDivisionError("a bug")


KINDS = (Kind("bad reader", make, read, choose),)
