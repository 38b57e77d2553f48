"""Finds the user's own sets of data: a source names sets, or folders that contain sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cosnet_jax.errors import InputError
from cosnet_jax.files import expanded


def find_sets(source: str, is_set: Callable[[Path], bool], expected: str) -> dict[str, Path]:
    """Finds the sets that a source names.

    Args:
      source: one or more folders separated by commas; each is a set or contains sets.
      is_set: tells whether a folder is a set.
      expected: the layout of a set, for error messages.

    Returns:
      Folder of each set by name; the name is the folder's.

    Raises:
      InputError: a folder is missing or contains no set, or two sets have the same name.
    """
    sets: dict[str, Path] = {}
    for part in filter(None, (part.strip() for part in source.split(","))):
        folder = expanded(part).absolute()
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder: expected {expected}, or a folder of such folders")
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
        found = [path for path in (folder, *inner) if is_set(path)]
        if not found:
            raise InputError(f"{folder} holds no set: expected {expected}, in it or one level below")
        for path in found:
            if path.name in sets:
                raise InputError(f"{path} and {sets[path.name]} have the same name: expected different folder names")
            sets[path.name] = path
    return sets
