"""Maps a function over a stream of tasks in threads: for functions that release the GIL."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from cosnet_jax.processes import usable_cores

Key = TypeVar("Key")


def map_in_threads(
    function: Callable, tasks: Iterable[tuple[Key, tuple]], workers: int | None = None
) -> Generator[tuple[Key, Any]]:
    """Calls `function(*arguments)` for each task in threads and yields the results in the order of the tasks.

    The threads take up to `2 * workers` tasks ahead of the results. They end with the iterator.

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
    pending: deque[tuple[Key, Future]] = deque()
    try:
        for key, arguments in tasks:
            pending.append((key, threads.submit(function, *arguments)))
            while pending and (len(pending) > 2 * count or pending[0][1].done()):
                key, future = pending.popleft()
                yield key, future.result()
        while pending:
            key, future = pending.popleft()
            yield key, future.result()
    finally:
        threads.shutdown(cancel_futures=True)
