"""Threads that work ahead: a function mapped over a stream of tasks, and an iterator that runs in a thread."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
Key = TypeVar("Key")
END = object()


def usable_cores() -> int:
    """Returns the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_threads(
    function: Callable, tasks: Iterable[tuple[Key, tuple]], workers: int | None = None
) -> Generator[tuple[Key, Any]]:
    """Calls `function(*arguments)` for each task in threads, for functions that release the GIL.

    Args:
      function: a function that may run in several threads at once.
      tasks: pairs of a key and the arguments of one call; up to `2 * workers` are taken ahead of the results.
      workers: number of threads; None for one per core.

    Yields:
      The key and the result of each task, in the order of the tasks. The threads end with the iterator.
    """
    count = workers or usable_cores()
    pending: deque[tuple[Key, Future]] = deque()
    with _pool(count) as threads:
        for key, arguments in tasks:
            pending.append((key, threads.submit(function, *arguments)))
            while pending and (len(pending) > 2 * count or pending[0][1].done()):
                key, future = pending.popleft()
                yield key, future.result()
        yield from ((key, future.result()) for key, future in pending)


def read_ahead(items: Iterator[T], depth: int = 2) -> Generator[T]:
    """Yields the items of an iterator that runs in a thread, up to `depth` items ahead.

    When this generator ends, is closed or left by an exception, the thread ends, and `items` is closed if it is a
    generator.
    """
    with contextlib.closing(items) if isinstance(items, Generator) else contextlib.nullcontext(), _pool(1) as thread:
        pending: deque[Future] = deque(thread.submit(next, items, END) for _ in range(depth))
        while (item := pending.popleft().result()) is not END:
            pending.append(thread.submit(next, items, END))
            yield item


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Makes threads; leaving the block cancels what waits for them, and waits for what they do."""
    threads = ThreadPoolExecutor(workers)
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)
