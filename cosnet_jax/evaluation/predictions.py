"""Finds, checks and reads a folder of predicted masks, `<sequence>/<frame>.png`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.ground_truth import GroundTruth
from cosnet_jax.evaluation.protocols import Protocol

LARGEST_LABEL = 20  # grey levels up to this one are labels where a sequence has no brighter ones
FEW_LEVELS = 8  # a sequence with at most so many grey levels holds no probabilities


def mask_files(folder: Path) -> dict[str, Path]:
    """Finds the masks of a sequence: frame name -> PNG file, whose suffix may be upper case."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.stem: path for path in files if path.suffix.lower() == ".png" and not path.name.startswith(".")}


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
    needed = [sequence.frame_names[i] for i in sequence.annotated]
    needed = needed[1:-1] if protocol.drop_ends else needed
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


def read_masks(paths: Sequence[str | Path]) -> list[np.ndarray]:
    """Reads the predicted masks of one sequence.

    A pixel is foreground
      - in a palette image: unless its index is 0, whatever its colour;
      - in a grey image of 8 or 16 bits: above half of the largest value (> 127, > 32767), as in probability maps;
      - in a grey image, where no pixel of the sequence is above `LARGEST_LABEL`: unless it is 0 (labels). This is also
        the reading of 16 bits with small values;
      - in a colour image: as in a grey one where the channels are equal in the whole image, else if it is not black;
      - in images with an alpha channel whose colours never change: as in a grey image, by alpha.

    Args:
      paths: PNG files.

    Returns:
      One (h, w) bool mask per file.

    Raises:
      InputError: a file cannot be read as an image, or its grey levels may be labels as well as probabilities.
    """
    images = [_read_png(Path(path)) for path in paths]
    one_colour = all(image.ndim == 3 and (image[..., :3] == image[0, 0, :3]).all() for image in images)
    if one_colour and any((image[..., 3] != image[0, 0, 3]).any() for image in images):
        images = [image[..., 3] for image in images]
    images = [_without_colours(image) for image in images]
    grey = [i for i, image in enumerate(images) if image.dtype != bool]
    if any(images[i].max() > 255 for i in grey):
        images = [image if image.dtype == bool else (image >> 8).astype(np.uint8) for image in images]
    counts = sum((np.bincount(images[i].ravel(), minlength=256) for i in grey), np.zeros(256, np.int64))
    levels = np.flatnonzero(counts)
    threshold = 127
    if len(levels) and 0 < levels[-1] <= LARGEST_LABEL:
        threshold = 0
    elif len(levels) <= FEW_LEVELS and 0 in levels and ((levels > 0) & (levels <= threshold)).any():
        raise InputError(
            f"{paths[grey[0]]}: the masks of this folder have the grey levels {', '.join(map(str, levels))}, which may "
            "be labels or probabilities; write them with 0 and 255"
        )
    return [image if image.dtype == bool else image > threshold for image in images]


def read_sequence_masks(masks_dir: Path, sequence: GroundTruth, indices: Collection[int] = ()) -> dict[int, np.ndarray]:
    """Reads the predicted masks of a sequence: frame index -> (h, w) bool; of all frames that have one by default.

    Raises:
      InputError: as `read_masks`, or a mask of `indices` is not there.
    """
    files = mask_files(masks_dir / sequence.name)
    paths = {i: files[name] for i, name in enumerate(sequence.frame_names) if name in files}
    if missing := sorted(set(indices) - set(paths)):
        raise InputError(f"{masks_dir / sequence.name / sequence.frame_names[missing[0]]}.png: cannot be read")
    paths = {i: path for i, path in paths.items() if i in indices or not indices}
    return dict(zip(paths, read_masks(list(paths.values())), strict=True))


def _read_png(path: Path) -> np.ndarray:
    """Reads bool (h, w) of a palette or of one bit, grey levels (h, w) uint8 or wider, or uint8 RGBA (h, w, 4)."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode == "P":
                return np.asarray(image) > 0
            return np.asarray(image.convert("RGBA") if image.mode in ("LA", "RGB", "RGBA") else image)
    except FileNotFoundError as error:
        raise InputError(f"{path}: cannot be read (no such file)") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: not a readable PNG image; write it again") from error


def _without_colours(image: np.ndarray) -> np.ndarray:
    """Gives the grey levels of an image, or where it has colours, bool: which pixels are not black."""
    if image.ndim == 2:
        return image
    red, green, blue, _ = cv2.split(image)
    return red if (red == green).all() and (red == blue).all() else red.astype(bool) | (green > 0) | (blue > 0)
