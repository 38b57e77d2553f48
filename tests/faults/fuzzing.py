"""Feeds damaged inputs to the readers in a child process, and watches it.

The child works through numbers of inputs and writes each number to a small shared file before it reads that input. So
the parent knows which input a crash or a hang belongs to; it notes the failure and starts a new child behind it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from faults.kinds import Kind, damaged

ROOT = Path(__file__).parents[2]
MAX_SECONDS = 20.0  # for one input, on a busy machine
MAX_BYTES = 1536 * 2**20  # peak memory of the process
POLL_SECONDS = 0.05
START_SECONDS = 300.0
NUMBER_BYTES = 8
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
    """The kind of a name. Those of `media` do without JAX, which takes seconds to import."""
    for module in ("faults.media", "faults.files"):
        for kind in importlib.import_module(module).KINDS:
            if kind.name == name:
                return kind
    raise KeyError(name)


def fuzz(kind: str, first: int, count: int, max_failures: int = 20) -> Tally:
    """Reads damaged inputs of a kind in child processes.

    Args:
      kind: its name.
      first, count: the numbers of the inputs.
      max_failures: stop there.
    """
    tally, end = Tally(kind), first + count
    with tempfile.TemporaryDirectory(prefix="fuzz_") as scratch:
        while first < end and len(tally.failures) < max_failures:
            first = _run_child(tally, first, end, Path(scratch))
    return tally


def _run_child(tally: Tally, first: int, end: int, scratch: Path) -> int:
    """Runs one child; returns the number of the next input."""
    position, results = scratch / "position", scratch / "results"
    position.write_bytes(STARTING.to_bytes(NUMBER_BYTES, "little"))
    results.write_bytes(b"")
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests" / "data", ROOT / "tests" / "interop")))
    environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "TMPDIR": str(scratch)}
    command = [sys.executable, "-m", "faults.fuzzing", tally.kind, str(first), str(end), str(scratch)]
    with open(scratch / "errors", "wb") as errors:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        problem = _watch(child, position)
    number = int.from_bytes(position.read_bytes(), "little")
    for line in results.read_text().splitlines():
        result = json.loads(line)
        tally.outcomes.update(result.get("outcomes", {}))
        tally.failures += [tuple(failure) for failure in result.get("failures", [])]
        tally.most_bytes = max(tally.most_bytes, result.get("most_bytes", 0))
    if problem is None and child.returncode == 0:
        return end
    if number == STARTING:
        raise RuntimeError(f"{tally.kind}: the child did not start: {(scratch / 'errors').read_text()[-2000:]}")
    last_words = (scratch / "errors").read_text(errors="replace").strip().splitlines()[-1:]
    tally.failures.append((number, problem or f"ended with status {child.returncode} {last_words}"))
    return number + 1


def _watch(child: subprocess.Popen, position: Path) -> str | None:
    """Waits for a child; kills it if it stays at one input, or takes far too much memory. Returns the problem."""
    seen, since = STARTING, time.monotonic()
    try:
        while child.poll() is None:
            time.sleep(POLL_SECONDS)
            number, now = int.from_bytes(position.read_bytes(), "little"), time.monotonic()
            if number != seen:
                seen, since = number, now
            elif now - since > (START_SECONDS if number == STARTING else MAX_SECONDS):
                return f"still not done after {now - since:.0f} s"
            elif _status_bytes("VmRSS", child.pid) > 2 * MAX_BYTES:
                return f"takes more than {2 * MAX_BYTES >> 20} MiB"
        return None
    finally:
        child.kill()
        child.wait()


def _status_bytes(field: str, pid: int | str = "self") -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith(field):
                return 1024 * int(line.split()[1])
    return 0


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
    peak = _status_bytes("VmHWM")
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


def serve(kind: Kind, first: int, end: int, scratch: Path) -> None:
    """The child: reads the inputs `first` to `end` and writes what became of them."""
    folder = scratch / "inputs" / kind.name.replace(" ", "_")
    names = folder.with_suffix(".json")
    if not names.exists():
        folder.mkdir(parents=True)
        names.write_text(json.dumps(kind.make(folder)))
    sound = {name: (folder / name).read_bytes() for name in json.loads(names.read_text())}
    guard, outcomes, failures, most = Guard(folder), collections.Counter(), [], 0
    for name in sound:
        outcome, message = attempt(kind, folder, folder / name, guard)
        if outcome == "failed":
            raise AssertionError(f"the sound {name} failed: {message}")
    before = resources()
    with open(scratch / "position", "r+b", buffering=0) as position, open(scratch / "results", "a") as results:
        for number in range(first, end):
            position.seek(0)
            position.write(number.to_bytes(NUMBER_BYTES, "little"))
            name, data = damaged(kind, sound, number)
            (folder / name).write_bytes(data)
            outcome, message = attempt(kind, folder, folder / name, guard)
            (folder / name).write_bytes(sound[name])
            most = max(most, _status_bytes("VmHWM"))
            if outcome == "failed":
                failures.append((number, f"{name}: {message}"))
            else:
                outcomes[outcome] += 1
            if failures or number % 100 == 99 or number == end - 1:
                last = number == end - 1
                if last and (leak := leaked(before)):
                    failures.append((number, leak))
                print(json.dumps({"outcomes": outcomes, "failures": failures, "most_bytes": most}), file=results)
                results.flush()
                outcomes.clear()
                failures.clear()


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
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("first", type=int)
    parser.add_argument("end", type=int)
    parser.add_argument("scratch", type=Path)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    serve(find_kind(arguments.kind), arguments.first, arguments.end, arguments.scratch)


if __name__ == "__main__":
    main()
