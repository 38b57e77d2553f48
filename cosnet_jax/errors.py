"""The one exception users are meant to read."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line that names it and says what was expected."""


@contextlib.contextmanager
def report_input_errors() -> Iterator[None]:
    """Turns an `InputError` into `error: <message>` on stderr and exit status 1, Ctrl-C into a word and status 130."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
