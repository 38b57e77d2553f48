"""Sends signals to a training process at random moments, and starts it again where it ends."""

from __future__ import annotations

import collections
import json
import os
import random
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.fuzzing import ROOT
from faults.tally import Injected

SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGKILL": signal.SIGKILL}
PATH = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests" / "data", ROOT / "tests" / "interop")))
FIRST_PAUSE = 8.0  # the longest time between two signals, in seconds
GROWTH = 1.5  # of it after every signal until a training is done, for a slow machine must come to an end
SILENCE = 600.0  # seconds without a line: the process hangs


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """Starts `faults.hurt_training`; its errors go to a file in the folder."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, "-m", "faults.hurt_training", str(folder), *arguments]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "errors.txt", "ab") as errors:
        return subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": PATH, **cache}, text=True, stdout=subprocess.PIPE,
            stderr=errors, start_new_session=True,
        )  # fmt: skip


def inject_faults(folder: Path, count: int, seed: int = 0, faults: tuple[str, ...] = ()) -> dict[str, Injected]:
    """Has `count` faults injected within one process; those of `faults`, or all, in turn."""
    results: dict[str, Injected] = collections.defaultdict(Injected)
    with start(folder, "faults", str(count), str(seed), *faults) as process:
        for line in process.stdout:
            told = json.loads(line)
            if "fault" in told:
                results[told["fault"]].note(told["lost"], f"seed {told['seed']}")
    if process.returncode or sum(result.injected for result in results.values()) != count:
        results["process"].note(f"ended with status {process.returncode}: {(folder / 'errors.txt').read_text()[-800:]}")
    return results


def send_signals(
    folder: Path, trainings: int, seed: int = 0, kinds: tuple[str, ...] = tuple(SIGNALS)
) -> dict[str, Injected]:
    """Hurts a number of trainings by signals at random moments.

    Returns:
      Kind of signal -> how many were sent, and what was lost. A loss is counted at the last signal before it.
    """
    rng, results = random.Random(f"signals {seed}"), {kind: Injected() for kind in kinds}
    done, last, longest = 0, kinds[0], [FIRST_PAUSE]
    while done < trainings:
        with start(folder, "victim", str(done), str(trainings - done)) as process:
            killed = False
            for told in _lines(process, lambda: rng.uniform(0.0, longest[0])):
                if told is None and not killed and done < trainings:  # not when Python ends, which heeds no handler
                    longest[0] *= GROWTH
                    last = rng.choice(kinds)
                    killed = last == "SIGKILL"
                    results[last].sent()
                    os.killpg(process.pid, signal.SIGKILL) if killed else os.kill(process.pid, SIGNALS[last])
                elif told and "done" in told:
                    done, longest[0] = told["done"] + 1, FIRST_PAUSE
                    results[last].lost_something(told["lost"], f"training {told['done']}")
        if process.returncode not in (0, -signal.SIGKILL):
            results[last].lost_something((folder / "errors.txt").read_text()[-800:], f"status {process.returncode}")
            done += 1
    return results


def _lines(process: subprocess.Popen, draw_pause: Callable[[], float]) -> Iterator[dict | None]:
    """Yields what a process tells, and None whenever it is time for a signal: at random moments once it is ready."""
    heard, next_signal = time.monotonic(), float("inf")
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            if now >= next_signal:
                yield None
                next_signal = now + draw_pause()
            if selector.select(max(min(next_signal - now, 1.0), 0.0)):
                line = process.stdout.readline()
                if not line:
                    return
                heard = time.monotonic()
                yield json.loads(line)
                next_signal = heard + draw_pause()  # it is ready, or a training is done
            if time.monotonic() - heard > SILENCE:
                process.kill()
