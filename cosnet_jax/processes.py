"""Maps a function over a stream of tasks in worker processes: results in order, bounded memory.

This pool is our own because loky (3.7.0, measured on 2 cores) behaves worse where it matters here:

- When the caller ends by SIGTERM or SIGKILL, loky's workers wait for ever. A worker of this pool ends, because its
  standard input ends.
- When Ctrl-C comes while loky's workers start, each prints a traceback. When loky's pool is closed early, a warning
  about leaked semaphores sometimes follows.
- Where psutil is installed, loky replaces a worker that has grown by 300 MB, and warns. Where warnings are errors, the
  whole pool breaks.
- Speed does not decide. Scoring 10 DAVIS sequences takes 4.0 s of CPU time here and 4.2 s with loky. To start and end
  two workers takes 0.14 s and 0.18 to 0.29 s, to send 1000 arrays of 1.2 MB there and back 0.65 s and 3.2 s.

loky can do one thing more: it sends functions of the main module.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, TypeVar

from cosnet_jax.threads import results_in_order, usable_cores

Key = TypeVar("Key")


def map_in_processes(
    function: Callable, tasks: Iterable[tuple[Key, tuple]], workers: int | None = None
) -> Generator[tuple[Key, Any], None, None]:
    """Calls `function(*arguments)` for each task in worker processes and yields the results in the order of the tasks.

    The pool takes up to `2 * workers` tasks ahead of the results, so that the workers have work while the caller makes
    the next task or uses a result. The workers are fresh Python interpreters: nothing is forked (a process that runs
    JAX must not fork), and the workers do not import the caller's main module (no `__main__` guard is needed). They end
    with the iterator: when it is exhausted or closed, or when `tasks`, `function` or Ctrl-C raises an exception.

    Args:
      function: a function of an importable module, or a `functools.partial` of one.
      tasks: pairs of a key and the arguments of one call. The arguments are pickled; the key stays in this process.
      workers: number of processes; None or 0 for one per core.

    Yields:
      The key and the result of each task.

    Raises:
      RuntimeError: a worker died, e.g. because memory ran out.
      Exception: whatever `tasks` or `function` raises.
    """
    with _worker_pool(workers or usable_cores()) as (submit, count):
        yield from results_in_order(lambda arguments: submit(function, arguments), tasks, 2 * count)


@contextlib.contextmanager
def _worker_pool(count: int) -> Iterator[tuple[Callable[[Callable, tuple], Future], int]]:
    """Starts the processes, and one thread per process that hands it task after task."""
    workers = [_Worker() for _ in range(count)]
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def call(function: Callable, arguments: tuple) -> Any:
        worker = idle.get()
        try:
            return worker.call(function, arguments)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(count, thread_name_prefix="worker")
    try:
        yield lambda function, arguments: threads.submit(call, function, arguments), count
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.end()  # this also wakes the thread that waits for the worker
        threads.shutdown()


class _Worker:
    """A Python process that runs `serve`. Calls and answers are pickled through its standard input and output."""

    def __init__(self):
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C in a terminal reaches the caller only, which then ends the workers
        )

    def call(self, function: Callable, arguments: tuple) -> Any:
        try:
            pickle.dump((function, arguments), self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            succeeded, result = pickle.load(self._process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(timeout=10)
                raise RuntimeError(f"a worker process died ({_describe_exit(status)})") from error
            raise  # the worker lives: the arguments or the result cannot be pickled
        if not succeeded:
            raise result
        return result

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # part of a call may not have been flushed
                pipe.close()


def _describe_exit(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"


def serve() -> None:
    """Answers calls in a worker process until its standard input ends: (True, result) or (False, exception)."""
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries that print must not write between the answers
    while True:
        try:
            function, arguments = pickle.load(calls)
        except (EOFError, pickle.UnpicklingError):  # the caller has ended
            return
        except Exception as error:  # e.g. a function of the caller's main module; the rest of the input is not readable
            _send(answers, (False, _with_traceback(error)))
            return
        try:
            answer = True, function(*arguments)
        except Exception as error:
            answer = False, _with_traceback(error)
        _send(answers, answer)


def _with_traceback(error: Exception) -> Exception:
    error.add_note(f"in a worker process:\n{traceback.format_exc()}")
    return error


def _send(answers: BinaryIO, answer: tuple[bool, Any]) -> None:
    try:
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()
    except BrokenPipeError:  # the caller has ended
        os._exit(1)
