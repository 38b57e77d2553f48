"""The one exception users are meant to read."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

MAX_MESSAGE = 200_000  # characters; all names of a network fit


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line that names it and says what was expected.

    Args:
      message: what is printed. Characters that do not print, which a file name or a damaged file can bring in, become
        escapes such as `\\n`; a very long message is cut.
    """

    def __init__(self, message: str):
        super().__init__(printable(message))


def printable(text: str) -> str:
    """Returns a text as one line that any terminal can print: line breaks, control characters, halves of surrogates
    (undecodable bytes of a file name) and marks that turn the direction of writing become escapes."""
    line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]}..."


def interruption_in(error: BaseException | None) -> KeyboardInterrupt | None:
    """Finds the KeyboardInterrupt among the causes of an error; libraries that catch everything hide it there."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


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
