"""Feeds damaged inputs to the readers in a child process, and watches it.

The child works through numbers of inputs and writes each number to a small shared file before it reads that input. So
the parent knows which input a crash or a hang belongs to; it notes the failure and starts a new child behind it.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import importlib
import itertools
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from faults.kinds import Kind, damaged
from faults.resources import status_number

ROOT = Path(__file__).parents[2]
MAX_SECONDS = 60.0  # for one input, on a busy machine
MAX_BYTES = 1536 * 2**20  # peak memory of the process
POLL_SECONDS = 0.05
START_SECONDS = 300.0
POSITION = struct.Struct("<QQ")  # job and number of the input that a child is at
STARTING = 2**64 - 1
READ, REFUSED = "read", "refused"


@dataclasses.dataclass
class Tally:
    """What became of the inputs of one kind."""

    kind: str
    outcomes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    failures: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    most_bytes: int = 0

    @property
    def tried(self) -> int:
        return sum(self.outcomes.values()) + len(self.failures)


def find_kind(name: str) -> Kind:
    """The kind of a name. The first modules do without JAX, which takes seconds to import."""
    for module in ("faults.bad_reader", "faults.media", "faults.files", "faults.networks"):
        for kind in importlib.import_module(module).KINDS:
            if kind.name == name:
                return kind
    raise KeyError(name)


def fuzz(jobs: Sequence[tuple[str, int, int]], max_failures: int = 20) -> list[Tally]:
    """Reads damaged inputs in child processes, those of all jobs in one child after the other.

    Args:
      jobs: (kind, number of the first input, how many).
      max_failures: a job stops there.

    Returns:
      One tally for each job.
    """
    tallies = [Tally(kind) for kind, _, _ in jobs]
    left = [(kind, first, first + count) for kind, first, count in jobs]
    with tempfile.TemporaryDirectory(prefix="fuzz_") as scratch:
        job = 0
        while job < len(jobs):
            job, first = _run_child(tallies, left, job, Path(scratch), max_failures)
            if job < len(jobs):
                left[job] = left[job][0], first, left[job][2]
    return tallies


def _run_child(
    tallies: list[Tally], left: list[tuple[str, int, int]], job: int, scratch: Path, max_failures: int
) -> tuple[int, int]:
    """Runs one child from a job on; returns the job to go on with and the number of its next input."""
    position, results = scratch / "position", scratch / "results"
    position.write_bytes(POSITION.pack(job, STARTING))
    results.write_bytes(b"")
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests" / "data", ROOT / "tests" / "interop")))
    environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "TMPDIR": str(scratch)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # of a module that is first imported under the guard
    failures_left = [max_failures - len(tally.failures) for tally in tallies]
    command = [sys.executable, "-m", "faults.fuzzing", json.dumps([left, job, failures_left]), str(scratch)]
    with open(scratch / "errors", "wb") as errors:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        problem = _watch(child, position)
    for line in results.read_text().splitlines():
        result = json.loads(line)
        tally = tallies[result["job"]]
        tally.outcomes.update(result["outcomes"])
        tally.failures += [tuple(failure) for failure in result["failures"]]
        tally.most_bytes = max(tally.most_bytes, result["most_bytes"])
    if problem is None and child.returncode == 0:
        return len(left), 0
    job, number = POSITION.unpack(position.read_bytes())
    last_words = (scratch / "errors").read_text(errors="replace")[-2000:].strip()
    if number == STARTING:
        raise RuntimeError(f"the child did not begin job {job} of {left}: {last_words}")
    tallies[job].failures.append((number, problem or f"ended with status {child.returncode} {last_words[-200:]}"))
    return job, number + 1


def _watch(child: subprocess.Popen, position: Path) -> str | None:
    """Waits for a child; kills it if it stays at one input, or takes far too much memory. Returns the problem."""
    seen, since = STARTING, time.monotonic()
    try:
        while child.poll() is None:
            time.sleep(POLL_SECONDS)
            (_, number), now = POSITION.unpack(position.read_bytes()), time.monotonic()
            if number != seen:
                seen, since = number, now
            elif now - since > (START_SECONDS if number == STARTING else MAX_SECONDS):
                return f"still not done after {now - since:.0f} s"
            elif 1024 * status_number("VmRSS", child.pid) > 2 * MAX_BYTES:
                return f"takes more than {2 * MAX_BYTES >> 20} MiB"
        return None
    finally:
        child.kill()
        child.wait()


# The child


class Guard:
    """Notes what Python code does outside a folder while `active`: writes, moves and deletions, new processes,
    connections."""

    PATHS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod")
    FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.connect")

    def __init__(self, folder: Path):
        self._folder, self.active, self.seen = os.path.realpath(folder), False, []
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple) -> None:
        if not self.active:
            return
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and not isinstance(path, int):
                self._check(event, path)
        elif event in self.PATHS:
            for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
                if not isinstance(path, int):
                    self._check(event, path)
        elif event in self.FORBIDDEN:
            self.seen.append(f"{event} {arguments!r:.100}")

    def _check(self, event: str, path: str | bytes) -> None:
        path, parts = os.fsdecode(path), (self._folder + os.sep, "/proc/")
        if path != os.devnull and not (os.path.realpath(path) + os.sep).startswith(parts):
            self.seen.append(f"{event} {path!r}")

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self.active = True
        try:
            yield
        finally:
            self.active = False


def attempt(kind: Kind, folder: Path, file: Path, guard: Guard) -> tuple[str, str]:
    """Reads a damaged input once. Returns ("read", ""), ("refused", message) or ("failed", what happened)."""
    from cosnet_jax.errors import InputError

    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory starts anew
    guard.seen.clear()
    start, outcome = time.monotonic(), (READ, "")
    try:
        with guard.watching():
            kind.read(folder, file)
    except InputError as error:
        outcome = (REFUSED, str(error)) if "\n" not in str(error) else ("failed", f"two lines: {error!r}")
    except BaseException as error:
        outcome = "failed", _describe(error)
    peak = 1024 * status_number("VmHWM")
    if guard.seen:
        return "failed", f"reached outside: {guard.seen[0]}"
    if peak > MAX_BYTES:
        return "failed", f"took {peak >> 20} MiB"
    if time.monotonic() - start > MAX_SECONDS:
        return "failed", f"took {time.monotonic() - start:.0f} s"
    return outcome


def _describe(error: BaseException) -> str:
    frame = error.__traceback__
    while frame.tb_next is not None:
        frame = frame.tb_next
    place = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"
    return f"{type(error).__name__}: {error} ({place})".replace("\n", " ")[:300]


def serve(kind: Kind, job: int, first: int, end: int, max_failures: int, scratch: Path) -> None:
    """Does one job in the child: reads the inputs `first` to `end` and writes what became of them."""
    folder = scratch / "inputs" / kind.name.replace(" ", "_")
    kept, names = scratch / "kept" / folder.name, scratch / "kept" / f"{folder.name}.json"
    if not names.exists():
        kept.mkdir(parents=True)
        names.write_text(json.dumps(kind.make(kept)))
    shutil.rmtree(folder, ignore_errors=True)  # a child that crashed left a damaged file
    shutil.copytree(kept, folder)
    sound = {name: (folder / name).read_bytes() for name in json.loads(names.read_text())}
    guard, outcomes, failures = Guard(folder), collections.Counter(), []
    with open(scratch / "position", "r+b", buffering=0) as position, open(scratch / "results", "a") as results:

        def tell() -> None:
            nonlocal max_failures
            max_failures -= len(failures)
            result = {
                "job": job,
                "outcomes": outcomes,
                "failures": failures,
                "most_bytes": 1024 * status_number("VmHWM"),
            }
            print(json.dumps(result), file=results, flush=True)
            outcomes.clear()
            failures.clear()

        position.write(POSITION.pack(job, STARTING))  # a failure of a sound input is no finding
        for name in itertools.islice(sound, end - first):  # a short form reads few
            outcome, message = attempt(kind, folder, folder / name, guard)
            if outcome == "failed":
                raise AssertionError(f"the sound {name} failed: {message}")
        before = resources()
        for number in range(first, end):
            position.seek(0)
            position.write(POSITION.pack(job, number))
            name, data = damaged(kind, sound, number)
            (folder / name).write_bytes(data)
            outcome, message = attempt(kind, folder, folder / name, guard)
            (folder / name).write_bytes(sound[name])
            if outcome == "failed":
                failures.append((number, f"{name}: {message}"))
            else:
                outcomes[outcome] += 1
            tell()
            if max_failures <= 0:
                return
        if leak := leaked(before):
            failures.append((end, leak))
            tell()


def resources() -> tuple[int, int]:
    """Open files and threads of this process."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def leaked(before: tuple[int, int]) -> str:
    """Compares with `resources` before; a few files and threads are caches and pools."""
    files, threads = (now - then for now, then in zip(resources(), before, strict=True))
    return f"leaks: {files} open files and {threads} threads more than before" if files > 8 or threads > 8 else ""


def main() -> None:
    """Runs as the child."""
    (jobs, first_job, max_failures), scratch = json.loads(sys.argv[1]), Path(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    for job, (kind, first, end) in list(enumerate(jobs))[first_job:]:
        if max_failures[job] > 0:
            serve(find_kind(kind), job, first, end, max_failures[job], scratch)
    with open(scratch / "position", "r+b") as position:  # not emptied: the parent reads it all the time
        position.write(POSITION.pack(len(jobs), STARTING))  # the end of the process is no input's


if __name__ == "__main__":
    main()
