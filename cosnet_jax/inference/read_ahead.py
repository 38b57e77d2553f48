"""Runs one stage of a chain of generators in a thread of its own, so that the stages overlap."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
END = object()


def read_ahead(items: Iterator[T], depth: int = 2) -> Generator[T]:
    """Yields the items of an iterator that runs in a thread, up to `depth` items ahead.

    When this generator is exhausted, closed early, or left by an exception (that of `items`, or Ctrl-C), the thread
    ends, and `items` is closed if it is a generator.
    """
    pending: deque[Future] = deque()
    thread, advancing = ThreadPoolExecutor(1, thread_name_prefix="read_ahead"), threading.Lock()

    def advance() -> T | object:
        with advancing:
            return next(items, END)

    try:
        for _ in range(depth):
            pending.append(thread.submit(advance))
        while (item := pending.popleft().result()) is not END:
            pending.append(thread.submit(advance))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)
        with advancing:  # `shutdown` does not wait for a thread that was just being started when Ctrl-C came
            if hasattr(items, "close"):
                items.close()
