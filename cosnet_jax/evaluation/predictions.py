"""Checks and reads a folder of predicted masks, `<sequence>/<frame>.png`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.ground_truth import GroundTruth
from cosnet_jax.evaluation.protocols import Protocol
from cosnet_jax.files import report_read_errors
from cosnet_jax.video.image_header import PNG_START
from cosnet_jax.video.images import decode

PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
PALETTE = 3  # value of the colour type in the header of a PNG


def check_predictions(masks_dir: str | Path, sequences: Sequence[GroundTruth], protocol: Protocol) -> None:
    """Checks that a folder holds the predictions of `sequences` and no others, and that every file can be a mask.

    Every annotated frame needs a prediction. Where the first and the last frame are not evaluated, both may be missing.
    Only names, headers and file ends are read, so that mistakes show before long work starts.

    Args:
      masks_dir: holds one folder per sequence with one PNG per frame.
      sequences: the ground truth.
      protocol: the benchmark's rules.

    Raises:
      InputError: a sequence or frame is missing or superfluous, or a file is not a complete PNG of the ground truth's
        size. The message names the first problem and counts the others.
    """
    masks_dir = Path(masks_dir)
    if not masks_dir.is_dir():
        raise InputError(f"{masks_dir}: no such folder of predicted masks; expected <sequence>/<frame>.png in it")
    problems = []
    for sequence in sequences:
        problems += _sequence_problems(masks_dir / sequence.name, sequence, protocol)
    problems += other_sequences(masks_dir, sequences)
    if problems:
        others = len(problems) - 1
        raise InputError(problems[0] + (f" (and {others} more problem{'s' * (others > 1)})" if others else ""))


def other_sequences(masks_dir: Path, sequences: Sequence[GroundTruth]) -> list[str]:
    """Returns what is wrong with the folders of masks that belong to no sequence; [] if there are none."""
    known = {sequence.name for sequence in sequences}
    folders = sorted(path for path in masks_dir.glob("*/") if path.name not in known and any(path.glob("*.png")))
    return [f"{folder}: not a sequence of this split" for folder in folders]


def _sequence_problems(folder: Path, sequence: GroundTruth, protocol: Protocol) -> list[str]:
    if not folder.is_dir():
        return [f"{folder}: predicted masks of sequence {sequence.name!r} are missing"]
    files = {path.stem: path for path in sorted(folder.glob("*.png")) if path.is_file()}
    needed = [sequence.frame_names[i] for i in sequence.annotated]
    if protocol.drop_ends and not {needed[0], needed[-1]} & files.keys():
        needed = needed[1:-1]
    problems = [f"{folder / name}.png: predicted mask is missing" for name in needed if name not in files]
    size = np.shape(sequence.mask(sequence.annotated[0]))
    known = set(sequence.frame_names)
    for name, path in files.items():
        problem = png_problem(path, size) if name in known else f"not a frame of sequence {sequence.name!r}"
        if problem:
            problems.append(f"{path}: {problem}")
    return problems


def png_problem(path: Path, size: tuple[int, int]) -> str | None:
    """Looks for a problem in the header and the end of a PNG file.

    Args:
      path: the file.
      size: the expected (height, width).

    Returns:
      The problem in words, or None.
    """
    try:
        with open(path, "rb") as file:
            header = file.read(26)
            file.seek(0, 2)
            file.seek(max(file.tell() - len(PNG_END), 0))
            end = file.read()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if len(header) < 26 or not header.startswith(PNG_START):
        return "not a PNG image"
    if end != PNG_END:
        return "truncated PNG image"
    width, height = struct.unpack(">II", header[16:24])
    if (height, width) != tuple(size):
        return f"mask of {height} x {width} pixels, but the ground truth has {size[0]} x {size[1]}"
    return None


def read_masks(paths: Sequence[str | Path]) -> list[np.ndarray]:
    """Reads the predicted masks of one sequence.

    A pixel is foreground
      - in a grey image of 8 or 16 bits: above half of the largest value (> 127, > 32767). So probability maps work too;
      - in a grey image, where no pixel of the whole sequence is above 1: at 1 (labels 0 and 1);
      - in a palette image (DAVIS style): if its colour is not black;
      - in an RGB image: as in a grey one where the three channels are equal in the whole image; otherwise if its colour
        is not black.
    An alpha channel is ignored.

    Args:
      paths: PNG files.

    Returns:
      One (h, w) bool mask per file.

    Raises:
      InputError: a file cannot be read as an image.
    """
    images = [_read_png(Path(path)) for path in paths]
    grey = [image for image in images if image.dtype != bool]
    are_labels = bool(grey) and max(int(image.max()) for image in grey) == 1

    def binarise(image: np.ndarray) -> np.ndarray:
        return image if image.dtype == bool else image > (0 if are_labels else np.iinfo(image.dtype).max // 2)

    return [binarise(image) for image in images]


def _read_png(path: Path) -> np.ndarray:
    """Reads grey levels (h, w) as uint8 or uint16, or (h, w) bool where the colours decide what is foreground."""
    with report_read_errors(path):
        encoded = path.read_bytes()
    image = decode(encoded, cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError(f"{path}: not a readable PNG image; write it again")
    if image.ndim == 2:
        return image
    colours = image[..., :3]
    is_palette = encoded.startswith(PNG_START) and encoded[25] == PALETTE
    if not is_palette and (colours == colours[..., :1]).all():
        return np.ascontiguousarray(colours[..., 0])
    return colours.any(axis=-1)
