"""DAVIS-2016: 30 training and 20 validation sequences with a mask for every frame."""

from __future__ import annotations

from pathlib import Path

from cosnet_jax.data.builders.base import Frame, FramesBuilder, Scan
from cosnet_jax.data.builders.folders import list_frames, require_masks
from cosnet_jax.files import is_plain_name

LISTS = ("480p", "2016")  # folders of ImageSets: of DAVIS-2016, and of DAVIS-2017


class Davis16(FramesBuilder):
    """DAVIS-2016 at 480p (Perazzi et al., A Benchmark Dataset and Evaluation Methodology for VOS, CVPR 2016).

    The frames that the two lists name are prepared. DAVIS-2017 has the same sequences, by name in
    `ImageSets/2016/{train,val}.txt`; its objects are merged. The first and the last frame of a sequence, which are not
    scored, need no mask. Licence: CC BY-NC 4.0 (non-commercial research).
    """

    LAYOUT = "JPEGImages/480p, Annotations/480p and ImageSets/480p/train.txt and val.txt"

    @classmethod
    def scan(cls, source: Path) -> Scan:
        scan = Scan()
        lists = [source / "ImageSets" / name for name in LISTS]
        folder = next((folder for folder in lists if folder.is_dir()), lists[0])
        for split in ("train", "val"):
            listing = folder / f"{split}.txt"
            if listing.is_file():
                scan.listings.append(listing)
                scan.splits[split] = _read_listing(source, listing, scan)
            else:
                scan.problems.append(f"{listing} not found: expected the list of the {split} frames")
        return scan


def _read_listing(source: Path, listing: Path, scan: Scan) -> list[Frame]:
    """Reads a list of frames, "/JPEGImages/480p/NAME/0.jpg /Annotations/480p/NAME/0.png", or of sequences, "NAME"."""
    listed: dict[str, list[str]] = {}  # sequence -> the stems of its frames; none for all of them
    for line in filter(None, map(str.strip, listing.read_text(encoding="utf-8", errors="replace").splitlines())):
        path = Path(line.split()[0])
        sequence = path.parent.name if "/" in line else path.name
        listed.setdefault(sequence, []).extend([path.stem] if "/" in line else [])
    frames = []
    for sequence, stems in listed.items():
        images, masks = (source / kind / "480p" / sequence for kind in ("JPEGImages", "Annotations"))
        if not is_plain_name(sequence):
            scan.problems.append(f"{listing} names {sequence!r}: expected a sequence, or the path of a frame")
            continue
        found = {frame.name: frame for frame in list_frames(sequence, images, masks, scan)}
        if missing := sorted(set(stems) - found.keys()) if found else []:
            scan.problems.append(f"{images / missing[0]}.jpg not found: {len(missing)} frames of {listing} are missing")
        chosen = [found[stem] for stem in dict.fromkeys(stems or found) if stem in found]
        require_masks(chosen[1:-1], masks, scan)
        frames += chosen
    return frames
