"""DAVIS-2016: 30 training and 20 validation sequences with a mask for every frame."""

from __future__ import annotations

import os
from pathlib import Path

from cosnet_jax.data.builders.base import Frame, FramesBuilder, Scan

RESOLUTION = "480p"
SPLITS = ("train", "val")


class Davis16(FramesBuilder):
    """DAVIS-2016 at 480p (Perazzi et al., A Benchmark Dataset and Evaluation Methodology for VOS, CVPR 2016).

    Obtained from https://davischallenge.org/davis2016/code.html ("DAVIS 2016, 480p"); the source is the unpacked folder
    `DAVIS` with `JPEGImages/480p`, `Annotations/480p` and `ImageSets/480p/{train,val}.txt`. The frames that the two
    lists name are prepared. Licence: CC BY-NC 4.0 (non-commercial research).
    """

    MASK_THRESHOLD = 0  # any colour: some distributions store palette masks, and one official mask has an alpha channel

    @classmethod
    def scan(cls, source: Path) -> Scan:
        scan = Scan()
        for folder in ("JPEGImages", "Annotations", "ImageSets"):
            if not (source / folder / RESOLUTION).is_dir():
                scan.problems.append(f"{source / folder / RESOLUTION} not found: expected a folder of DAVIS-2016")
        if scan.problems:
            return scan
        for split in SPLITS:
            listing = source / "ImageSets" / RESOLUTION / f"{split}.txt"
            if not listing.is_file():
                scan.problems.append(f"{listing} not found: expected the list of the {split} frames")
                continue
            scan.listings.append(listing)
            frames = _read_listing(source, listing, scan.problems)
            if frames:
                scan.splits[split] = frames
        if not scan.splits and not scan.problems:
            scan.problems.append(f"{source / 'ImageSets' / RESOLUTION} lists no frames: expected train.txt and val.txt")
        return scan


def _read_listing(source: Path, listing: Path, problems: list[str]) -> list[Frame]:
    sequences: dict[str, dict[str, Frame]] = {}
    missing_sequences = set()
    try:
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        problems.append(f"{listing} cannot be read ({error.strerror}): expected the list of frames")
        return []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        parts = line.split()
        names = [Path(part).parent.name for part in parts]
        if len(parts) != 2 or names[0] != names[1] or not names[0] or any(".." in Path(part).parts for part in parts):
            problems.append(
                f"{listing}, line {number}, says {line.strip()!r}: "
                f"expected '/JPEGImages/{RESOLUTION}/SEQUENCE/FRAME.jpg /Annotations/{RESOLUTION}/SEQUENCE/FRAME.png'"
            )
            continue
        image, mask = (source / part.lstrip("/") for part in parts)
        sequence = image.parent.name
        if not os.path.isdir(image.parent) and sequence not in missing_sequences:
            missing_sequences.add(sequence)
            problems.append(f"{image.parent} not found: expected the sequence {sequence!r} listed in {listing}")
        if sequence in missing_sequences:
            continue
        if not os.path.isfile(image):
            problems.append(f"{image} not found: expected the frame listed in {listing}, line {number}")
        if not os.path.isfile(mask):
            problems.append(f"{mask} not found: expected the mask of {image}")
        if image.stem in sequences.setdefault(sequence, {}):
            problems.append(f"{listing}, line {number}, lists {sequence}/{image.stem} again: expected each frame once")
        sequences[sequence][image.stem] = Frame(sequence, image.stem, image, mask)
    return [frame for frames in sequences.values() for frame in frames.values()]
