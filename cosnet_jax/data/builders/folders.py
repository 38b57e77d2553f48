"""What several layouts have in common: images and masks in two folders, matched by their stems; sets in a folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cosnet_jax.errors import InputError
from cosnet_jax.files import expanded, natural_key
from cosnet_jax.video.images import IMAGE_SUFFIXES

MASK_SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm")


def list_files(folder: Path, suffixes: tuple[str, ...], problems: list[str]) -> dict[str, Path]:
    """Lists the files of a folder by stem, in natural order, without hidden ones; {} if there is no folder.

    `suffixes` are in lower case, those of files in any. `problems` gets a line for each stem that two files share.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=natural_key) if folder.is_dir() else ():
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in files:
            problems.append(f"{path} has the same stem as {files[path.stem].name}: expected one file for each stem")
        files[path.stem] = path
    return files


def list_pairs(images: Path, masks: Path, problems: list[str]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Lists images and masks by stem. Where both lie in one folder, the masks are its PNG files."""
    together = images == masks
    return (
        list_files(images, (".jpg", ".jpeg") if together else IMAGE_SUFFIXES, problems),
        list_files(masks, (".png",) if together else MASK_SUFFIXES, problems),
    )


def same_file(path: Path) -> Path:
    """Returns the file itself, or where there is none, the one whose suffix differs only in case."""
    if os.path.isfile(path):  # False for a name that is too long, which Path.is_file raises for
        return path
    others = (path.with_suffix(change(path.suffix)) for change in (str.upper, str.lower))
    return next((other for other in others if os.path.isfile(other)), path)


def find_sets(source: str, is_set: Callable[[Path], bool], expected: str) -> dict[str, Path]:
    """Finds the sets that a source names, by the names of their folders.

    Args:
      source: one or more folders separated by commas; each is a set or contains sets.
      is_set: tells whether a folder is a set.
      expected: the layout of a set, for error messages.

    Raises:
      InputError: a folder is missing or contains no set, or two sets have the same name.
    """
    sets: dict[str, Path] = {}
    for part in filter(None, (part.strip() for part in source.split(","))):
        folder = expanded(part).absolute()
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder: expected {expected}, or a folder of such folders")
        found = [path for path in (folder, *_subfolders(folder)) if is_set(path)]
        if not found:
            near = find_near(folder, is_set)
            hint = f"; {near} is one" if near else ""
            raise InputError(f"{folder} holds no set: expected {expected}, in it or one level below{hint}")
        for path in found:
            if path.name in sets:
                raise InputError(f"{path} and {sets[path.name]} have the same name: expected different folder names")
            sets[path.name] = path
    return sets


def find_near(folder: Path, is_source: Callable[[Path], bool]) -> Path | None:
    """Looks for a dataset one or two levels above a folder that is none, or one or two below."""
    below = _subfolders(folder)
    deeper = (path for child in below[:100] for path in _subfolders(child)[:100])
    for path in (*folder.parents[:2], *below, *deeper):
        if is_source(path):
            return path
    return None


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
