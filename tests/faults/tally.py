"""Counts what was injected and what was lost, and prints it as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence


@dataclasses.dataclass
class Injected:
    """The injections of one kind of fault; `losses` says what was lost."""

    injected: int = 0
    losses: list[str] = dataclasses.field(default_factory=list)

    def note(self, lost: str, where: str = "") -> None:
        """Counts an injection, and what it lost ("" for nothing)."""
        self.sent()
        self.lost_something(lost, where)

    def sent(self) -> None:
        """Counts an injection whose outcome is not known yet."""
        self.injected += 1

    def lost_something(self, lost: str, where: str = "") -> None:
        """Counts a loss, unless it is ""."""
        if lost:
            self.losses.append(f"{where}: {lost}" if where else lost)


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints columns as wide as their widest entry, the first one to the left and the others to the right."""
    table = [list(map(str, head)), *(list(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *cells[1:]]), flush=True)
