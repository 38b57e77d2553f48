"""Any sets of videos, or of groups of photographs, in folders `VIDEO/images` + `VIDEO/masks`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from cosnet_jax.data.builders.base import Frame, FramesBuilder, Scan
from cosnet_jax.data.builders.folders import find_sets, list_pairs
from cosnet_jax.data.builders.stills import MAPS
from cosnet_jax.files import natural_key


class Videos(FramesBuilder):
    """A set of the user's own videos: `VIDEO/images/*` and `VIDEO/masks/*` with equal stems, in natural order.

    A frame without a mask is kept as an unannotated one; a video needs one mask at least. Groups of photographs of the
    same object, or of objects of the same class, have the same layout; their sizes can differ. `VIDEO/maps` in place of
    `masks` holds soft masks. Sequences are called `SET_VIDEO` and form the split "train".
    """

    EXPECTED: ClassVar[str] = "folders of videos, each with images + masks (or maps)"

    @classmethod
    def is_source(cls, folder: Path) -> bool:
        return bool(_list_videos(folder))

    @classmethod
    def find_sets(cls, source: str) -> dict[str, Path]:
        """Finds the sets that a source names, see `folders.find_sets`."""
        return find_sets(source, cls.is_source, cls.EXPECTED)

    @classmethod
    def scan(cls, source: Path) -> Scan:
        scan = Scan()
        videos = _list_videos(source)
        if not videos:
            scan.problems.append(f"{source} holds no videos: expected {cls.EXPECTED}")
            return scan
        scan.splits["train"] = [
            frame
            for video in videos
            for frame in scan_video(f"{source.name}_{video.name}", video / "images", _mask_folder(video), scan)
        ]
        return scan


def _mask_folder(video: Path) -> Path:
    return video / "masks" if (video / "masks").is_dir() else video / MAPS


def _list_videos(folder: Path) -> list[Path]:
    videos = (path for path in folder.iterdir() if (path / "images").is_dir() and _mask_folder(path).is_dir())
    return sorted(videos, key=natural_key)


def scan_video(name: str, images: Path, masks: Path, scan: Scan) -> list[Frame]:
    """Lists the frames of a sequence from its folders of images and masks, in natural order; problems go to `scan`."""
    found, annotated = list_pairs(images, masks, scan.problems)
    if surplus := len(annotated.keys() - found.keys()):
        scan.notes.append(f"{masks} has {surplus} masks without an image: not used")
    if not found:
        scan.problems.append(f"{images} holds no images: expected the frames of {name}")
    elif not found.keys() & annotated.keys():
        scan.problems.append(f"{masks} holds no mask of an image: expected one with the image's stem")
    return [Frame(name, stem, image, annotated.get(stem), masks.name == MAPS) for stem, image in found.items()]
