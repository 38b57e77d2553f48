"""Maps a function over a stream of tasks: the order and the look-ahead of every pool, and the pool of threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Key = TypeVar("Key")


def usable_cores() -> int:
    """Returns the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_threads(
    function: Callable, tasks: Iterable[tuple[Key, tuple]], workers: int | None = None
) -> Generator[tuple[Key, Any]]:
    """Calls `function(*arguments)` for each task in threads and yields the results in the order of the tasks.

    For functions that release the GIL. The threads take up to `2 * workers` tasks ahead of the results. They end with
    the iterator.

    Args:
      function: a function that may run in several threads at once.
      tasks: pairs of a key and the arguments of one call.
      workers: number of threads; None or 0 for one per core.

    Yields:
      The key and the result of each task.

    Raises:
      Exception: whatever `tasks` or `function` raises.
    """
    count = workers or usable_cores()
    threads = ThreadPoolExecutor(count, thread_name_prefix="map_in_threads")
    try:
        yield from results_in_order(lambda arguments: threads.submit(function, *arguments), tasks, 2 * count)
    finally:
        threads.shutdown(cancel_futures=True)


def results_in_order(
    submit: Callable[[tuple], Future], tasks: Iterable[tuple[Key, tuple]], ahead: int
) -> Generator[tuple[Key, Any]]:
    """Submits tasks to a pool and yields their results in the order of the tasks.

    Args:
      submit: hands the arguments of one call to the pool.
      tasks: pairs of a key and the arguments of one call.
      ahead: how many tasks are taken ahead of the results.

    Yields:
      The key and the result of each task.

    Raises:
      Exception: whatever `tasks` or a call raises.
    """
    pending: deque[tuple[Key, Future]] = deque()
    for key, arguments in tasks:
        pending.append((key, submit(arguments)))
        while pending and (len(pending) > ahead or pending[0][1].done()):
            key, future = pending.popleft()
            yield key, future.result()
    while pending:
        key, future = pending.popleft()
        yield key, future.result()
