"""Files: writing them atomically, output folders, and the order of names."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from cosnet_jax.errors import InputError, printable

LONGEST_NAME = 200  # bytes; file systems take 255, and a temporary name is longer than the final one


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary name beside `path` and renames it to `path` when the block ends without an exception.

    Args:
      path: the file's final name.

    Yields:
      The name to write to. After an exception (Ctrl-C too) it is removed, and a former file at `path` is untouched.

    Raises:
      InputError: the file cannot be written, e.g. in a read-only folder or on a full disk.
    """
    temporary = temporary_name(Path(path))
    try:
        with report_write_errors(path):
            yield temporary
            temporary.replace(path)
    finally:
        with contextlib.suppress(NotADirectoryError):  # a parent is a file, which the error above says
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def claimed(folder: Path, lock: str, doing: str, wait: bool = False) -> Iterator[None]:
    """Keeps a folder for one kind of work of this process while the block runs.

    The system releases the lock when the process ends, however it ends, so a killed process blocks nothing.

    Args:
      folder: must exist.
      lock: name of the lock's file in it, one for each kind of work.
      doing: the work in the third person, for the message.
      wait: until no other process does this work there.

    Raises:
      InputError: another process does this work there and `wait` is False, or the file of the lock cannot be written.
    """
    holder = filelock.FileLock(folder / lock, thread_local=False)
    with report_write_errors(folder / lock):
        try:
            holder.acquire(timeout=0)
        except filelock.Timeout:
            if not wait:
                raise InputError(f"{folder}: another process {doing} there; expected a folder of its own") from None
            print(printable(f"{folder}: another process {doing} there; waiting for its end"), file=sys.stderr)
            holder.acquire()
        except OSError as error:
            if error.errno != errno.ENOLCK:  # a network file system without locks
                raise
    try:
        yield
    finally:
        holder.release()
        if not wait:
            (folder / lock).unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a whole file by `atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Writes a whole file in UTF-8 by `atomic_write`."""
    write_bytes(path, text.encode())


def temporary_name(path: Path) -> Path:
    """Returns the name under which a file is written until it is complete, beside it."""
    return path.with_name(f".{bounded_name(path.name)}.{os.getpid()}.part")  # its end is for `remove_temporaries`


def bounded_name(name: str) -> str:
    """Returns a name itself, or where it is longer than `LONGEST_NAME`, a digest of it with its last 8 characters."""
    if len(os.fsencode(name)) <= LONGEST_NAME:
        return name
    return f"{hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()}{name[-8:]}"


def is_plain_name(name: str) -> bool:
    """Tells whether a name can only be that of an entry of a folder: it leads neither out of the folder nor deeper."""
    return name not in ("", ".", "..") and not {"/", "\0"} & set(name)


def is_special(path: Path) -> bool:
    """Tells whether something other than a file is there. Opening a named pipe would wait for ever."""
    return path.exists() and not path.is_file()


def remove_temporaries(folder: Path, pattern: str) -> None:
    """Removes the temporary files that killed processes left in a folder of files whose names match a pattern."""
    for path in folder.glob(f".{pattern}.*.part"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def report_read_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns an OSError of the block into an InputError that names the file, or `path` if the error does not."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: cannot be read ({error.strerror}); check that it is there, and its permissions"
        ) from error


@contextlib.contextmanager
def report_write_errors(path: str | os.PathLike[str], kinds: Any = OSError) -> Iterator[None]:
    """Turns an error of some kinds, which have a `strerror`, in the block into an InputError that names `path`."""
    try:
        yield
    except kinds as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def expanded(path: str | os.PathLike[str]) -> Path:
    """Returns a path with "~" as the home folder; "~NAME" of an unknown user stays as it is."""
    return Path(os.path.expanduser(path))


def writable_folder(path: str | Path) -> Path:
    """Makes an output folder and proves that files can be written there, before long work starts.

    Args:
      path: the folder; its parents are made too.

    Returns:
      The folder.

    Raises:
      InputError: it is a file, or cannot be made or written to.
    """
    path = expanded(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):  # it has no name, so that a killed process leaves nothing
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written to ({error.strerror}); name another folder") from error
    return path


def natural_key(path: str | Path) -> tuple[list[str | int], str]:
    """Returns a sort key that compares numbers by their value: frame2 comes before frame10.

    Args:
      path: a path or a name.

    Returns:
      Its parts, text and numbers in turn, then the whole text, which decides between "01" and "1".
    """
    text = str(path)
    parts: list[str | int] = re.split(r"([0-9]+)", text)
    parts[1::2] = map(int, parts[1::2])
    return parts, text
