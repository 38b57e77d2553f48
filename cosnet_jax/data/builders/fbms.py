"""FBMS-59: 29 training and 30 test sequences, annotated every few frames."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import cv2
import numpy as np

from cosnet_jax.data.builders.base import Frame, FramesBuilder, Scan
from cosnet_jax.data.builders.folders import list_files
from cosnet_jax.errors import InputError
from cosnet_jax.video.images import decode
from cosnet_jax.video.masks import read_mask

FOLDERS = {"train": "Trainingset", "test": "Testset"}
WHITE = 0xFFFFFF


class Fbms(FramesBuilder):
    """FBMS-59 (Ochs et al., Segmentation of Moving Objects by Long Term Video Analysis, TPAMI 2014).

    All objects are merged to foreground; frames without ground truth are kept as unannotated ones. For research.
    """

    LAYOUT = "Trainingset or Testset, with SEQUENCE/*.jpg and SEQUENCE/GroundTruth"

    @classmethod
    def scan(cls, source: Path) -> Scan:
        scan = Scan()
        for split, name in FOLDERS.items():
            sequences = sorted((source / name).glob("[!.]*/"))
            scan.splits[split] = [frame for sequence in sequences for frame in _scan_sequence(sequence, scan)]
        return scan

    @classmethod
    def read_mask(cls, path: Path) -> np.ndarray:
        """Reads a mask: every pixel that is not background is foreground.

        The background is region 0 of the definition file. Without that file it is white in .ppm and in files that hold
        no 0, else 0. Programs convert the ground truth to PNG in many ways: a PNG without that label, or with 0 and
        without a definition file, is read as any mask.
        """
        _, background, _ = _read_definition(path.parent)
        labels, suffix = _read_labels(path), path.suffix.lower()
        if background is None and not (suffix == ".png" and 0 in labels):
            background = WHITE if suffix == ".ppm" or 0 not in labels else 0
        known = background is not None and (suffix != ".png" or background in labels)
        return labels != background if known else read_mask(path)


def _scan_sequence(sequence: Path, scan: Scan) -> list[Frame]:
    """Matches the ground truth that the definition file lists, or without one all of it, with the images: by equal
    names, else by equal numbers in the names."""
    images = list_files(sequence, (".jpg", ".jpeg"), scan)
    folder = sequence / "GroundTruth"
    truths = list_files(folder, (".pgm", ".ppm", ".png"), scan)
    definitions, _, pairs = _read_definition(folder)
    scan.listings += definitions
    if not definitions:
        pairs = [
            (stem, stem.removesuffix("_gt")) for stem, path in truths.items()
            if "PROB" not in stem and (stem.endswith("_gt") or path.suffix.lower() != ".ppm")
        ]  # fmt: skip
    by_number = {_last_number(stem): stem for stem in images if _last_number(stem)}
    masks = {}
    for truth, name in pairs:
        stem = name if name in images else by_number.get(_last_number(name))
        if stem is None or truth not in truths:
            missing = f"no image {name}.jpg" if stem is None else f"no file {truth}"
            scan.problems.append(f"{folder}: there is {missing} for the ground truth {truth} of frame {name}")
        else:
            masks[stem] = truths[truth]
    if not images or not masks:
        scan.problems.append(f"{sequence} has {len(images)} frames, {len(masks)} with ground truth: expected some")
    return [Frame(sequence.name, stem, image, masks.get(stem)) for stem, image in images.items()]


def _last_number(stem: str) -> str:
    """Returns the last number in a name, without leading zeros; "" if there is none."""
    numbers = re.findall("[0-9]+", stem)
    return numbers[-1].lstrip("0").zfill(1) if numbers else ""


def _read_definition(folder: Path) -> tuple[list[Path], int | None, list[tuple[str, str]]]:
    """Reads the definition file of a folder, if there is one: lines "Title:", each followed by a line with the value.

    Returns:
      The file; the label of region 0, which is the background; and the stems of each ground truth and its image.
    """
    background, truth, pairs = None, "", []
    files = list(list_files(folder, (".dat",), Scan()).values())[:1]
    lines = [line.strip() for file in files for line in file.read_text(errors="replace").splitlines()]
    for title, value in itertools.pairwise(lines):
        title = title.rstrip(":").lower()
        if title == "scale of region 0" and re.fullmatch("[0-9]{1,9}", value):
            background = int(value)
        elif title == "file name":
            truth = Path(value).stem
        elif title == "input file name":
            pairs.append((truth, Path(value).stem))
    return files, background, pairs


def _read_labels(path: Path) -> np.ndarray:
    """Reads the label of each pixel: the value of a grey file, R * 65536 + G * 256 + B of a colour file."""
    stored = decode(path.read_bytes(), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise InputError(f"{path}: not a readable ground truth; expected .pgm, .ppm or .png")
    if stored.ndim == 2:
        return stored
    blue, green, red = (stored[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue
