"""Maps a function over a stream in worker processes: in order, in bounded memory, while the caller goes on working."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def usable_cores() -> int:
    """Returns the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_processes(function: Callable, tasks: Iterable[tuple], workers: int | None = None) -> Iterator[Any]:
    """Calls `function(*task)` for each task in worker processes and yields the results in the order of the tasks.

    Up to `2 * workers` tasks are taken ahead of the results, so that the workers are busy while the caller makes the
    next task or uses a result. The workers are fresh Python interpreters: nothing is forked (a process that runs JAX
    must not be), and the caller's main module is not imported again (no `__main__` guard is needed). They end with the
    iterator, whether it is exhausted, closed early, or left by an exception in `tasks` or `function` or by Ctrl-C.

    Args:
      function: a function of an importable module, or a `functools.partial` of one.
      tasks: picklable arguments.
      workers: the number of processes; None or 0 for one a core.

    Yields:
      The results.

    Raises:
      RuntimeError: a worker died, e.g. for want of memory.
      Exception: whatever `tasks` or `function` raises.
    """
    with _worker_pool(function, workers or usable_cores()) as (submit, count):
        pending: deque[Future] = deque()
        for task in tasks:
            pending.append(submit(task))
            while pending and (len(pending) > 2 * count or pending[0].done()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


@contextlib.contextmanager
def _worker_pool(function: Callable, count: int) -> Iterator[tuple[Callable[[tuple], Future], int]]:
    """Starts the processes, and a thread for each that passes it one task after the other."""
    workers = [_Worker(function) for _ in range(count)]
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def call(task: tuple) -> Any:
        worker = idle.get()
        try:
            return worker.call(task)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(count, thread_name_prefix="worker")
    try:
        yield lambda task: threads.submit(call, task), count
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.end()  # also wakes a thread that waits for it
        threads.shutdown()


class _Worker:
    """A Python process that runs `serve`; tasks and results are pickled through its standard input and output."""

    def __init__(self, function: Callable):
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        self._function = pickle.dumps(function)

    def call(self, task: tuple) -> Any:
        try:
            if self._function:
                self._process.stdin.write(self._function)
                self._function = b""
            pickle.dump(task, self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            succeeded, result = pickle.load(self._process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError, ValueError) as error:
            raise RuntimeError(f"a worker process died (exit status {self._process.wait()})") from error
        if not succeeded:
            raise result
        return result

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was not yet flushed
                pipe.close()


def serve() -> None:
    """Works in a worker process until its standard input ends: a function first, then task after task."""
    tasks, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get between the results
    function = pickle.load(tasks)
    while True:
        try:
            task = pickle.load(tasks)
        except EOFError:
            return
        try:
            answer = True, function(*task)
        except Exception as error:
            error.add_note(f"in a worker process:\n{traceback.format_exc()}")
            answer = False, error
        try:
            pickle.dump(answer, results, pickle.HIGHEST_PROTOCOL)
            results.flush()
        except BrokenPipeError:  # the parent was killed
            os._exit(1)
