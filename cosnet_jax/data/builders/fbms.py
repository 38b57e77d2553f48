"""FBMS-59: 29 training and 30 test sequences, annotated every few frames."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from cosnet_jax.data.builders.base import Frame, FramesBuilder, Scan
from cosnet_jax.files import is_plain_name, natural_key
from cosnet_jax.video.images import decode

FOLDERS = {"train": "Trainingset", "test": "Testset"}
WHITE = 0xFFFFFF
NUMBER = re.compile("[0-9]{1,9}")


class Fbms(FramesBuilder):
    """FBMS-59 (Ochs et al., Segmentation of Moving Objects by Long Term Video Analysis, TPAMI 2014).

    Obtained from https://lmb.informatik.uni-freiburg.de/resources/datasets/moseg.en.html; the source is the folder with
    `Trainingset` and `Testset` (or one of them), each with `SEQUENCE/*.jpg` and `SEQUENCE/GroundTruth/`. All objects
    are merged to foreground; frames without ground truth are kept as unannotated ones. For research.
    """

    @classmethod
    def scan(cls, source: Path) -> Scan:
        scan = Scan()
        for split, name in FOLDERS.items():
            folder = source / name
            if not folder.is_dir():
                continue
            sequences = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
            frames = [frame for sequence in sequences for frame in _scan_sequence(sequence, scan)]
            if frames:
                scan.splits[split] = frames
            elif not scan.problems:
                scan.problems.append(f"{folder} is empty: expected folders of sequences")
        if not scan.splits and not scan.problems:
            scan.problems.append(f"{source} holds neither {' nor '.join(FOLDERS.values())}: expected FBMS-59")
        return scan

    @classmethod
    def read_mask(cls, path: Path) -> np.ndarray | None:
        """Reads a mask: every pixel that is not background is foreground.

        The background is region 0 of the definition file. Without that file it is black in .pgm and white in .ppm.
        """
        labels = _read_labels(path)
        if labels is None:
            return None
        definition = _find_definition(path.parent)
        background = _read_definition(definition).background if definition else None
        if background is None:
            background = WHITE if path.suffix == ".ppm" else 0
        return labels != background


class Definition(NamedTuple):
    """The contents of a `.dat` file."""

    background: int | None  # label of region 0
    annotations: list[tuple[int, str, str]]  # frame index, file name of the ground truth, file name of the image


def _scan_sequence(sequence: Path, scan: Scan) -> list[Frame]:
    images = sorted((p for p in sequence.glob("*.jpg") if not p.name.startswith(".")), key=natural_key)
    truth = sequence / "GroundTruth"
    if not images:
        scan.problems.append(f"{sequence} holds no frames: expected *.jpg")
    if not truth.is_dir():
        scan.problems.append(f"{truth} not found: expected the ground truth of the sequence")
    if not images or not truth.is_dir():
        return []
    definition = _find_definition(truth)
    if definition:
        scan.listings.append(definition)
        masks = _match_definition(definition, images, scan)
    else:
        masks = _match_names(truth, images, scan)
    if not masks and not scan.problems:
        scan.problems.append(f"{truth} annotates no frame: expected a .dat file, *.pgm or *_gt.ppm")
    return [Frame(sequence.name, image.stem, image, masks.get(image)) for image in images]


def _match_definition(definition: Path, images: list[Path], scan: Scan) -> dict[Path, Path]:
    """Maps images to the ground truth that the definition file lists: by the image's name, else by its index."""
    by_stem = {image.stem: image for image in images}
    masks = {}
    for number, truth_name, image_name in _read_definition(definition).annotations:
        image = by_stem.get(Path(image_name).stem)
        if image is None and 0 <= number < len(images):
            image = images[number]
        if image is None:
            scan.problems.append(
                f"{definition} annotates frame {number} ({image_name!r}): expected one of {len(images)} frames"
            )
            continue
        if not is_plain_name(truth_name):
            scan.problems.append(f"{definition} names {truth_name!r}: expected a file beside it")
            continue
        truth = definition.parent / truth_name
        if not os.path.isfile(truth):
            scan.problems.append(
                f"{truth} not found: expected the ground truth of {image}, listed in {definition.name}"
            )
            continue
        masks[image] = truth
    return masks


def _match_names(truth: Path, images: list[Path], scan: Scan) -> dict[Path, Path]:
    """Maps images to ground truth if there is no definition file: by equal names, else by equal numbers."""
    by_stem = {image.stem: image for image in images}
    by_number = {_last_number(image.stem): image for image in images}
    masks = {}
    for path in sorted((*truth.glob("*.pgm"), *truth.glob("*_gt.ppm")), key=natural_key):
        if "PROB" in path.name or path.name.startswith("."):
            continue
        stem = path.stem.removesuffix("_gt")
        image = by_stem.get(stem) or by_number.get(_last_number(stem))
        if image is None:
            scan.problems.append(f"{path} belongs to no frame: expected one called {stem!r} in {truth.parent}")
            continue
        masks[image] = path
    return masks


def _last_number(stem: str) -> int | None:
    numbers = re.findall("[0-9]+", stem)
    return int(numbers[-1][-9:]) if numbers else None


def _find_definition(truth: Path) -> Path | None:
    return next(
        (path for path in sorted(truth.glob("*.dat")) if path.is_file() and not path.name.startswith(".")), None
    )


def _read_definition(path: Path) -> Definition:
    """Reads a definition file: lines "Title:", each followed by a line with the value."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    background = None
    annotations = []
    entry: dict[str, str] = {}
    for title, value in itertools.pairwise(lines):
        title = title.rstrip(":").lower()
        if title == "scale of region 0" and NUMBER.fullmatch(value):
            background = int(value)
        if title in ("frame number", "file name", "input file name"):
            entry[title] = value
        if title == "input file name":
            number = entry.get("frame number", "")
            annotations.append((int(number) if NUMBER.fullmatch(number) else -1, entry.get("file name", ""), value))
            entry = {}
    return Definition(background, annotations)


def _read_labels(path: Path) -> np.ndarray | None:
    """Reads the label of each pixel: the grey value of a .pgm, R * 65536 + G * 256 + B of a .ppm."""
    stored = decode(path.read_bytes(), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim == 2:
        return stored
    labels = stored[..., 2].astype(np.int32)  # OpenCV's order: blue, green, red
    for channel in (1, 0):  # in place, for 16 bits at the largest size take gigabytes otherwise
        labels <<= 8
        labels += stored[..., channel]
    return labels
