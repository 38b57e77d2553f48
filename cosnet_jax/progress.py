"""Progress of long work: a bar with ETA on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

import tqdm

from cosnet_jax.errors import printable

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 15.0


def track(iterable: Iterable[T], description: str, total: int | None = None, silent: bool = False) -> Iterator[T]:
    """Yields the items of `iterable` and shows how far the work is, on stderr.

    Args:
      iterable: what is worked through.
      description: what the work is, e.g. "scoring", or a name of a file, which need not be printable.
      total: number of items; taken from `len(iterable)` where that exists.
      silent: show nothing.

    Yields:
      The items, unchanged.
    """
    if silent:
        yield from iterable
        return
    description = printable(description)
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if sys.stderr.isatty():
        yield from tqdm.tqdm(iterable, desc=description, total=total, dynamic_ncols=True)
        return
    start = last = time.monotonic()
    for done, item in enumerate(iterable, 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and done != total:
            last = now
            eta = f", {(now - start) / done * (total - done):.0f} s left" if total else ""
            print(f"{description}: {done}{f'/{total}' if total else ''}{eta}", file=sys.stderr, flush=True)
    print(f"{description}: done in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
