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
from cosnet_jax.data.builders.folders import list_files, same_file
from cosnet_jax.errors import InputError
from cosnet_jax.files import is_plain_name
from cosnet_jax.video.images import decode
from cosnet_jax.video.masks import read_mask

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
    def is_source(cls, folder: Path) -> bool:
        return any((folder / name).is_dir() for name in FOLDERS.values())

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
    def read_mask(cls, path: Path) -> np.ndarray:
        """Reads a mask: every pixel that is not background is foreground.

        The background is region 0 of the definition file. Without that file it is white in .ppm and in colour PNGs that
        hold no black, and 0 in others.
        """
        definition = _find_definition(path.parent)
        background = _read_definition(definition).background if definition else None
        labels = _read_labels(path)
        if path.suffix.lower() == ".png":
            known = (background,) if definition else (WHITE,) * (0 not in labels)
            background = next((label for label in known if label in labels), None)
            return read_mask(path) if background is None else labels != background
        if background is None:
            background = WHITE if path.suffix.lower() == ".ppm" else 0
        return labels != background


class Definition(NamedTuple):
    """The contents of a `.dat` file."""

    background: int | None  # label of region 0
    annotations: list[tuple[int, str, str]]  # frame index, file name of the ground truth, file name of the image


def _scan_sequence(sequence: Path, scan: Scan) -> list[Frame]:
    images = list(list_files(sequence, (".jpg", ".jpeg"), scan.problems).values())
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
        scan.problems.append(f"{truth} annotates no frame: expected a .dat file, *.pgm, *_gt.ppm or *.png")
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
        listed = definition.parent / truth_name
        files = [same_file(file) for file in (listed, listed.with_suffix(".png"))]  # the second of a converted set
        truth = next((file for file in files if os.path.isfile(file)), None)
        if truth is None:
            scan.problems.append(
                f"{listed} not found: expected the ground truth of {image}, listed in {definition.name}"
            )
            continue
        masks[image] = truth
    return masks


def _match_names(truth: Path, images: list[Path], scan: Scan) -> dict[Path, Path]:
    """Maps images to ground truth if there is no definition file: by equal names, else by equal numbers."""
    by_stem = {image.stem: image for image in images}
    by_number = {_last_number(image.stem): image for image in images}
    masks = {}
    for stem, path in list_files(truth, (".pgm", ".ppm", ".png"), scan.problems).items():
        if "PROB" in stem or (path.suffix.lower() == ".ppm" and not stem.endswith("_gt")):
            continue
        stem = stem.removesuffix("_gt")
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
    return next(iter(list_files(truth, (".dat",), []).values()), None)


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


def _read_labels(path: Path) -> np.ndarray:
    """Reads the label of each pixel: the value of a grey file, R * 65536 + G * 256 + B of a colour file."""
    stored = decode(path.read_bytes(), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise InputError(f"{path}: not a readable ground truth; expected .pgm, .ppm or .png")
    if stored.ndim == 2:
        return stored
    blue, green, red = (stored[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue
