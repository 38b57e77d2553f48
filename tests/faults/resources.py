"""What a process holds: memory, open files, threads and child processes."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

MEMORY_NOISE = 48  # MiB by which memory may grow: allocators keep what they had
NOISE = 4  # files and threads by which caches and pools may grow


class Resources(NamedTuple):
    """Memory in MiB, numbers of the others."""

    memory: int
    files: int
    threads: int
    processes: int


def status_number(field: str, pid: int | str = "self") -> int:
    """A number in /proc/PID/status, such as VmRSS in KiB; 0 if the process or the field is not there."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    return 0


def measure() -> Resources:
    """What this process holds now."""
    gc.collect()
    children = sum(len(path.read_text().split()) for path in Path("/proc/self/task").glob("*/children"))
    files = len(os.listdir("/proc/self/fd"))
    return Resources(status_number("VmRSS") >> 10, files, status_number("Threads"), children)


def growth(before: Resources, after: Resources) -> str:
    """Names what grew by more than noise; "" for nothing."""
    allowed = Resources(MEMORY_NOISE, NOISE, NOISE, 0)
    grown = [
        f"{name} from {then} to {now}"
        for name, then, now, noise in zip(Resources._fields, before, after, allowed, strict=True)
        if now > then + noise
    ]
    return ", ".join(grown)


@contextlib.contextmanager
def measured(owner: type, method: str, count: int, times: int = 10) -> Iterator[list[Resources]]:
    """Gives a list that fills while the block runs: what is held before a method's calls, evenly spaced, and at last.

    Args:
      owner: the class of the method.
      method: its name.
      count: how often it will be called.
      times: how often to measure.
    """
    original, calls, found = getattr(owner, method), [0], list[Resources]()

    def call(*arguments: Any, **settings: Any) -> Any:
        if calls[0] % (count // times) == 0:
            found.append(measure())
        calls[0] += 1
        return original(*arguments, **settings)

    with mock.patch.object(owner, method, call):
        yield found
    found.append(measure())


def problem_with(before: Resources, found: list[Resources]) -> str:
    """Compares the second measurement with the last one, and what was held before everything with what is held after.

    Returns:
      What grew, "" for nothing.
    """
    return growth(found[1], found[-2]) or growth(before._replace(memory=found[1].memory), found[-1])
