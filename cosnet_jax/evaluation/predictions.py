"""A folder of predicted masks, `<sequence>/<frame>.png`: checking it and reading it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.protocols import Protocol

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
PALETTE = 3  # the colour type in a PNG's header


def check_predictions(masks_dir: str | Path, sequences: Sequence, protocol: Protocol) -> None:
    """Checks that a folder holds the predictions of `sequences`, nothing else, and that every file can be a mask.

    Every annotated frame needs a prediction; where the first and the last frame do not count, both may be missing. Only
    names, headers and file ends are read, so that mistakes show before long work starts.

    Args:
      masks_dir: holds one folder per sequence with one PNG per frame.
      sequences: see `score.score_masks`.
      protocol: the benchmark's rules.

    Raises:
      InputError: a sequence or frame is missing, one too many is there, or a file is no complete PNG of the size of
        the ground truth. The line names the first problem and counts the others.
    """
    masks_dir = Path(masks_dir)
    if not masks_dir.is_dir():
        raise InputError(f"{masks_dir}: no such folder of predicted masks")
    problems = []
    for sequence in sequences:
        problems += _sequence_problems(masks_dir / sequence.name, sequence, protocol)
    known = {sequence.name for sequence in sequences}
    for folder in sorted(path for path in masks_dir.iterdir() if path.is_dir()):
        if folder.name not in known and any(folder.glob("*.png")):
            problems.append(f"{folder}: not a sequence of this split")
    if problems:
        others = len(problems) - 1
        raise InputError(problems[0] + (f" (and {others} more problem{'s' * (others > 1)})" if others else ""))


def _sequence_problems(folder: Path, sequence, protocol: Protocol) -> list[str]:
    if not folder.is_dir():
        return [f"{folder}: predicted masks of sequence {sequence.name!r} are missing"]
    there = {path.stem: path for path in sorted(folder.glob("*.png"))}
    needed = [sequence.frame_names[i] for i in sequence.annotated]
    if protocol.drop_ends and not {needed[0], needed[-1]} & there.keys():
        needed = needed[1:-1]
    problems = [f"{folder / name}.png: predicted mask is missing" for name in needed if name not in there]
    size = sequence.mask(sequence.annotated[0]).shape
    frames = set(sequence.frame_names)
    for name, path in there.items():
        problem = png_problem(path, size) if name in frames else f"not a frame of sequence {sequence.name!r}"
        if problem:
            problems.append(f"{path}: {problem}")
    return problems


def png_problem(path: Path, size: tuple[int, int]) -> str | None:
    """Says what is wrong with a PNG file as far as its header and its end show it.

    Args:
      path: the file.
      size: the (height, width) it must have.

    Returns:
      What is wrong, or None.
    """
    try:
        with open(path, "rb") as file:
            header = file.read(26)
            file.seek(0, 2)
            file.seek(max(file.tell() - len(PNG_END), 0))
            end = file.read()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if len(header) < 26 or not header.startswith(PNG_SIGNATURE):
        return "not a PNG image"
    if end != PNG_END:
        return "truncated PNG image"
    width, height = struct.unpack(">II", header[16:24])
    if (height, width) != tuple(size):
        return f"mask of {height} x {width} pixels, but the ground truth has {size[0]} x {size[1]}"
    return None


def read_masks(paths: Sequence[str | Path]) -> list[np.ndarray]:
    """Reads the predicted masks of one sequence.

    How each kind of PNG becomes foreground and background:
      - grey, 8 or 16 bit: more than half of the largest value (> 127, > 32767), so maps of probabilities do too;
      - grey where no pixel of the whole sequence exceeds 1: labels 0 and 1, foreground is 1;
      - palette (DAVIS style): a colour other than black;
      - RGB: as grey where the three channels are equal in the whole image, else a colour other than black;
      - an alpha channel is ignored.

    Args:
      paths: PNG files.

    Returns:
      One (h, w) bool mask a file.

    Raises:
      InputError: a file cannot be read as an image.
    """
    images = [_read_png(Path(path)) for path in paths]
    grey = [image for image in images if image.dtype != bool]
    labels = bool(grey) and max(int(image.max()) for image in grey) == 1
    masks = []
    for image in images:
        if image.dtype != bool:
            image = image > (0 if labels else np.iinfo(image.dtype).max // 2)
        masks.append(image)
    return masks


def _read_png(path: Path) -> np.ndarray:
    """Returns grey levels (h, w) uint8 or uint16, or (h, w) bool where colours already tell the foreground."""
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED) if encoded else None
    if image is None:
        raise InputError(f"{path}: not a readable PNG image")
    if image.ndim == 2:
        return image
    colours = image[..., :3]
    is_palette = encoded.startswith(PNG_SIGNATURE) and encoded[25] == PALETTE
    if not is_palette and (colours == colours[..., :1]).all():
        return np.ascontiguousarray(colours[..., 0])
    return colours.any(axis=-1)
