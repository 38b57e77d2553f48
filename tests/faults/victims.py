"""Injects faults: starts the processes that are hurt, as forks of one that has imported everything, and kills some.

It imports no JAX itself.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from faults.moments import draw_pause, learn
from faults.tally import Injected

# Group of faults -> its share of all injections. Each SIGKILL costs a process, which takes seconds to start.
TRAINING, INTERRUPTED, KILLED = "training", "SIGINT", "SIGKILL"
SHARES = {
    (TRAINING, ""): 0.8, (INTERRUPTED, "segment"): 0.06, (INTERRUPTED, "evaluate"): 0.05, (KILLED, "train"): 0.03,
    (KILLED, "segment"): 0.03, (KILLED, "evaluate"): 0.03,
}  # fmt: skip
STEP_PATTERN = "still,video"  # of the trainings
RECORD = "injected.jsonl"
MARK = "COSNET_HURT"  # environment variable of the processes that a victim starts
HUNG_SECONDS = 900.0  # without a word
END_SECONDS = 20.0  # for a process to end by itself
GRACE_SECONDS = 60.0  # for the processes that a killed one had started


class Ended(Exception):
    """A process that is hurt ended by itself, or hangs."""


class Victim:
    """A process that runs a function of `faults.hurt`; it is killed when the block ends.

    Args:
      folder: what all of them share.
      task: name of the function.
      *arguments: its arguments after the connection and the folder.

    Raises:
      Ended: it did not begin its work.
    """

    def __init__(self, folder: Path, task: str, *arguments: Any):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["faults.hurt"])
        self._folder = folder
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=run_task, args=(task, theirs, folder, *arguments))
        self._process.start()
        theirs.close()
        self._hear()

    def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method of `faults.hurt.Hurt`.

        Raises:
          Ended: no answer came.
        """
        self._connection.send((method, *arguments))
        return self._hear()

    def is_done(self) -> bool:
        """Kills the process; tells whether its work was done before."""
        self._process.kill()
        self._process.join()
        with contextlib.suppress(EOFError):
            return self._connection.poll() and self._connection.recv() == "done"
        return False

    def _hear(self) -> Any:
        try:
            if self._connection.poll(HUNG_SECONDS):
                return self._connection.recv()
        except EOFError:
            self._process.join()
            errors = (self._folder / "errors.txt").read_text(errors="replace")[-800:]
            raise Ended(f"status {self._process.exitcode}: {errors}") from None
        raise Ended(f"no word for {HUNG_SECONDS:.0f} s")

    def __enter__(self) -> Victim:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()  # ends one that serves
        self._process.join(END_SECONDS)
        self._process.kill()
        self._process.join()


def run_task(task: str, connection: Connection, *arguments: Any) -> None:
    from faults import hurt  # not in the process that sends the faults, which needs no JAX

    getattr(hurt, task)(connection, *arguments)


def kill_once(folder: Path, server: Victim, step_pattern: str, work: str, seed: int) -> tuple[int, str]:
    """Kills a process at a random moment of its work, which goes on in `server`; returns (kills, what was lost)."""
    workdir, rng = folder / "killed", random.Random(f"kill {work} {seed}")
    shutil.rmtree(workdir, ignore_errors=True)
    with Victim(folder, "be_killed", step_pattern, work, workdir) as victim:
        time.sleep(draw_pause(rng, f"kill {work}"))
        was_done = victim.is_done()
    learn(f"kill {work}", not was_done)
    if left := wait_for_end_of(workdir):
        return 1, f"process {left[0]} outlives the one that started it"
    return int(not was_done), server.ask("problem_after_kill", work, workdir)


def wait_for_end_of(workdir: Path) -> list[int]:
    """Waits for the end of the processes that a killed one had started; returns those that stay."""
    mark, deadline = f"{MARK}={workdir}\0".encode(), time.monotonic() + GRACE_SECONDS
    while True:
        left = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes() + b"\0":
                    left.append(int(process.name))
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


def measure_resources(folder: Path, steps: int, clips: int) -> Iterator[tuple[str, list[list[int]], str]]:
    """Trains for many steps and segments many clips; yields the work, what its process held, and what grew.

    Each measurement is memory in MiB and the numbers of open files, threads and child processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Victim(folder, "serve", STEP_PATTERN, ("segment",), False) as server:
        for work, count in (("training", steps), ("segment", clips)):
            if count:
                found, problem = server.ask(f"measure_{work}", count)
                yield f"{work} of {count}", [list(each) for each in found], problem


Group = tuple[str, str]  # of faults: how they are injected, and into what


def inject(
    folder: Path,
    count: int,
    seed: int = 0,
    shares: Mapping[Group, float] = SHARES,
    names: Sequence[str] = (),
    step_pattern: str = STEP_PATTERN,
) -> dict[str, Injected]:
    """Injects at least `count` faults. What an earlier call injected in the same folder counts.

    Args:
      folder: for everything that is made.
      count: how many.
      seed: decides which faults, and when, as far as the machine does not.
      shares: group of faults -> its share of all injections.
      names: the faults of the group `TRAINING`; none for all.
      step_pattern: of the trainings.

    Returns:
      Fault -> how many were injected, and what was lost. A loss counts at the last fault before it.

    Raises:
      Ended: the process that is hurt from within does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record, works = folder / RECORD, sorted({work for _, work in shares})
    keeps = any(way == KILLED for way, _ in shares)
    done = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    with contextlib.ExitStack() as running:
        server = None
        while _count(done) < count:
            server = server or running.enter_context(Victim(folder, "serve", step_pattern, works, keeps))
            group = min(shares, key=lambda each: _count(done, each) / shares[each])
            number = 10**6 * seed + sum(entry["group"] == list(group) for entry in done)
            try:
                if group[0] == KILLED:
                    kills, lost = kill_once(folder, server, step_pattern, group[1], number)
                    faults = [f"{group[1]}, {KILLED}"] * kills
                elif group[0] == INTERRUPTED:
                    faults, lost = server.ask("interrupt", number, group[1])
                else:
                    faults, lost = server.ask("hurt_training", number, list(names))
            except Ended as end:
                faults, lost, server = [f"{group[0]} {group[1]}".strip()], str(end), None
                running.close()
            done.append({"group": group, "seed": number, "faults": faults, "lost": lost})
            with open(record, "a") as file:
                print(json.dumps(done[-1]), file=file)
            done[-1]["group"] = list(group)
    results: dict[str, Injected] = {}
    for entry in done:
        for fault in entry["faults"]:
            results.setdefault(fault, Injected()).sent()
        if entry["lost"]:
            where = f"{' '.join(entry['group'])} {entry['seed']} after {', '.join(entry['faults'])}"
            results.setdefault((entry["faults"] or entry["group"])[-1], Injected()).lost_something(entry["lost"], where)
    return dict(sorted(results.items()))


def _count(done: Sequence[dict], group: Group | None = None) -> int:
    return sum(len(entry["faults"]) for entry in done if group is None or entry["group"] == list(group))
