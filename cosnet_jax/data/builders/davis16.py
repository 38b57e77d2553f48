"""DAVIS-2016: 30 training and 20 validation sequences with a mask for every frame."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from cosnet_jax.data.builders.base import Frame, FramesBuilder, Scan
from cosnet_jax.data.builders.folders import list_files, same_file
from cosnet_jax.files import is_plain_name
from cosnet_jax.video.images import IMAGE_SUFFIXES

RESOLUTION = "480p"
LISTS = ("480p", "2016")  # folders of ImageSets: of DAVIS-2016, and of DAVIS-2017
SPLITS = ("train", "val")


class Davis16(FramesBuilder):
    """DAVIS-2016 at 480p (Perazzi et al., A Benchmark Dataset and Evaluation Methodology for VOS, CVPR 2016).

    Obtained from https://davischallenge.org/davis2016/code.html ("DAVIS 2016, 480p"); the source is the unpacked folder
    `DAVIS` with `JPEGImages/480p`, `Annotations/480p` and `ImageSets/480p/{train,val}.txt`. The frames that the two
    lists name are prepared. DAVIS-2017 has the same sequences, by name in `ImageSets/2016/{train,val}.txt`; its objects
    are merged. Licence: CC BY-NC 4.0 (non-commercial research).
    """

    @classmethod
    def is_source(cls, folder: Path) -> bool:
        return all((folder / name).is_dir() for name in ("JPEGImages", "Annotations", "ImageSets"))

    @classmethod
    def scan(cls, source: Path) -> Scan:
        scan = Scan()
        lists = [source / "ImageSets" / name for name in LISTS]
        lists_folder = next((folder for folder in lists if folder.is_dir()), lists[0])
        for folder in (source / "JPEGImages" / RESOLUTION, source / "Annotations" / RESOLUTION, lists_folder):
            if not folder.is_dir():
                scan.problems.append(f"{folder} not found: expected a folder of DAVIS-2016")
        for split in () if scan.problems else SPLITS:
            listing = lists_folder / f"{split}.txt"
            if not listing.is_file():
                scan.problems.append(f"{listing} not found: expected the list of the {split} frames")
                continue
            scan.listings.append(listing)
            if frames := _read_listing(source, listing, scan.problems):
                scan.splits[split] = frames
        if not scan.splits and not scan.problems:
            scan.problems.append(f"{lists_folder} lists no frames: expected train.txt and val.txt")
        return scan


def _read_listing(source: Path, listing: Path, problems: list[str]) -> list[Frame]:
    """Reads a list of frames, "/JPEGImages/480p/NAME/0.jpg /Annotations/480p/NAME/0.png", or of sequences, "NAME"."""
    sequences: dict[str, dict[str, Frame]] = {}
    missing_sequences = set()
    for number, line in enumerate(listing.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        parts = [Path(part) for part in line.split()]
        if not parts:
            continue
        names = {part.parent.name if len(parts) > 1 else part.name for part in parts}
        sequence = names.pop()
        unsafe = any(".." in part.parts or "\0" in str(part) for part in parts)
        if len(parts) > 2 or names or unsafe or not is_plain_name(sequence) or (len(parts) == 1 and "/" in line):
            problems.append(
                f"{listing}, line {number}, says {line.strip()!r}: expected the name of a sequence, or "
                f"'/JPEGImages/{RESOLUTION}/SEQUENCE/FRAME.jpg /Annotations/{RESOLUTION}/SEQUENCE/FRAME.png'"
            )
            continue
        folder = source / "JPEGImages" / RESOLUTION / sequence
        files = [(source / str(part).lstrip("/")) for part in parts]
        if len(parts) == 2:
            folder, pairs = files[0].parent, [(files[0], files[1])]
        if not os.path.isdir(folder):
            if sequence not in missing_sequences:
                problems.append(f"{folder} not found: expected the sequence {sequence!r} listed in {listing}")
            missing_sequences.add(sequence)
            continue
        if len(parts) == 1:
            masks = source / "Annotations" / RESOLUTION / sequence
            images = list_files(folder, IMAGE_SUFFIXES, problems)
            pairs = [(image, masks / f"{stem}.png") for stem, image in images.items()]
        frames = sequences.setdefault(sequence, {})
        for image, mask in ((same_file(image), same_file(mask)) for image, mask in pairs):
            if not os.path.isfile(image):
                problems.append(f"{image} not found: expected the frame listed in {listing}, line {number}")
            if not os.path.isfile(mask):
                problems.append(f"{mask} not found: expected the mask of {image}")
            if image.stem in frames:
                problems.append(f"{listing}, line {number}, lists {sequence}/{image.stem} again: expected it once")
            frames[image.stem] = Frame(sequence, image.stem, image, mask)
    return list(itertools.chain.from_iterable(frames.values() for frames in sequences.values()))
