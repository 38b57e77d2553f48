"""Finds, checks and reads a folder of predicted masks, `<sequence>/<frame>.png`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.ground_truth import GroundTruth
from cosnet_jax.evaluation.protocols import Protocol
from cosnet_jax.video.masks import read_mask


def mask_files(folder: Path) -> dict[str, Path]:
    """Finds the masks of a sequence: frame name -> PNG file, whose suffix may be upper case."""
    files = (path for path in sorted(folder.glob("*")) if path.suffix.lower() == ".png" and path.is_file())
    return {path.stem: path for path in files if not path.name.startswith(".")}


def check_predictions(masks_dir: str | Path, sequences: Sequence[GroundTruth], protocol: Protocol) -> list[str]:
    """Checks names and sizes of predicted masks before long work starts.

    Every annotated frame needs a prediction, except a first or last frame that is not evaluated.

    Args:
      masks_dir: holds one folder per sequence with one PNG per frame.
      sequences: the ground truth.
      protocol: the benchmark's rules.

    Returns:
      Names of the folders of masks that belong to none of the sequences; they are not scored.

    Raises:
      InputError: a sequence or frame is missing, a frame is superfluous, or a file is no PNG of the ground truth's
        size. The message names the first problem and counts the others.
    """
    masks_dir = Path(masks_dir)
    if not masks_dir.is_dir():
        raise InputError(f"{masks_dir}: no such folder of predicted masks; expected <sequence>/<frame>.png in it")
    names = [sequence.name for sequence in sequences]
    if not any((masks_dir / name).is_dir() for name in names):
        _name_the_right_level(masks_dir, names)
    problems = []
    for sequence in sequences:
        problems += _sequence_problems(masks_dir / sequence.name, sequence, protocol)
    if problems:
        others = len(problems) - 1
        raise InputError(problems[0] + (f" (and {others} more problem{'s' * (others > 1)})" if others else ""))
    return folders_not_scored(masks_dir, names)


def folders_not_scored(masks_dir: Path, names: Collection[str]) -> list[str]:
    """Lists the folders of masks whose name is not among `names`."""
    return sorted(path.name for path in masks_dir.glob("*/") if path.name not in names and mask_files(path))


def _name_the_right_level(masks_dir: Path, names: Sequence[str]) -> None:
    """Raises an InputError if the masks are one folder level higher or lower than expected."""
    expected = f"expected <sequence>/<frame>.png, e.g. {names[0]}/*.png"
    if mask_files(masks_dir):
        raise InputError(f"{masks_dir}: holds masks itself; {expected}: name the folder above it")
    for folder in sorted(masks_dir.glob("*/")):
        if any((folder / name).is_dir() for name in names):
            raise InputError(f"{masks_dir}: holds no sequence; {expected}: name {folder}")


def _sequence_problems(folder: Path, sequence: GroundTruth, protocol: Protocol) -> list[str]:
    if not folder.is_dir():
        return [f"{folder}: predicted masks of sequence {sequence.name!r} are missing"]
    files = mask_files(folder)
    ends = (0, len(sequence.frame_names) - 1) if protocol.drop_ends else ()
    needed = [sequence.frame_names[i] for i in sequence.annotated if i not in ends]
    problems = [f"{folder / name}.png: predicted mask is missing" for name in needed if name not in files]
    known = set(sequence.frame_names)
    problems += [
        f"{path}: not a frame of sequence {sequence.name!r}" for name, path in files.items() if name not in known
    ]
    height, width = np.shape(sequence.mask(sequence.annotated[0]))
    for path in (files[name] for name in needed if name in files):
        try:
            with Image.open(path, formats=["PNG"]) as image:
                size = image.size
        except OSError:
            problems.append(f"{path}: not a PNG image")
        else:
            if size != (width, height):
                given = f"{path}: mask of {size[1]} x {size[0]} pixels"
                problems.append(f"{given}, but the ground truth of {sequence.name!r} has {height} x {width}")
    return problems


def read_sequence_masks(masks_dir: Path, sequence: GroundTruth, indices: Collection[int] = ()) -> dict[int, np.ndarray]:
    """Reads the predicted masks of a sequence: frame index -> (h, w) bool; of all frames that have one by default.

    Raises:
      InputError: as `cosnet_jax.video.masks.read_mask`, or a mask of `indices` is not there.
    """
    files = mask_files(masks_dir / sequence.name)
    paths = {i: files[name] for i, name in enumerate(sequence.frame_names) if name in files}
    if missing := sorted(set(indices) - set(paths)):
        raise InputError(f"{masks_dir / sequence.name / sequence.frame_names[missing[0]]}.png: cannot be read")
    paths = {i: path for i, path in paths.items() if i in indices or not indices}
    return {i: read_mask(path) for i, path in paths.items()}
