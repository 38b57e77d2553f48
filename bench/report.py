"""What the measurements share: seconds, the machine, and how results are stored."""

from __future__ import annotations

import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax

from cosnet_jax.files import atomic_write
from cosnet_jax.threads import usable_cores

sys.path.append(str(Path(__file__).parents[1]))  # where configs/ is

T = TypeVar("T")


class Seconds(NamedTuple):
    """Seconds on the clock, and of the CPU: of this process and of those that it started and that have ended."""

    clock: float
    cpu: float

    def each(self, count: int) -> Seconds:
        """Returns the seconds of one of `count`."""
        return Seconds(self.clock / count, self.cpu / count)


def seconds_so_far() -> Seconds:
    """Returns the seconds since some moment; differences count."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Seconds(time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in usages))


def timed(function: Callable[[], T]) -> tuple[Seconds, T]:
    """Calls a function; returns its seconds and its result."""
    start = seconds_so_far()
    result = function()
    end = seconds_so_far()
    return Seconds(end.clock - start.clock, end.cpu - start.cpu), result


def machine() -> str:
    """Returns the device in words, with the load that other work puts on a CPU."""
    kind = jax.devices()[0].device_kind
    if jax.default_backend() != "cpu":
        return f"{jax.device_count()} x {kind}"
    return f"CPU ({platform.machine()}), {usable_cores()} cores, load {os.getloadavg()[0]:.1f}"


def write_json(path: Path, settings: dict[str, Any], results: Any) -> None:
    """Writes results with the settings, the machine, the date, the commit and JAX's version."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    about = {
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip() or None,
        "jax": jax.__version__,
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({**about, "settings": settings, "results": results}, indent=1) + "\n")
