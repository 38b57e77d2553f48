"""Any sets of videos, or of groups of photographs, in folders `VIDEO/images` + `VIDEO/masks`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from cosnet_jax.data.builders.base import Frame, FramesBuilder, Scan
from cosnet_jax.data.builders.image_mask_pairs import list_files
from cosnet_jax.data.builders.sets import find_sets
from cosnet_jax.files import natural_key


class Videos(FramesBuilder):
    """A set of the user's own videos: `VIDEO/images/*` and `VIDEO/masks/*` with equal stems, in natural order.

    A frame without a mask is kept as an unannotated one; a video needs one mask at least. Groups of photographs of the
    same object, or of objects of the same class, have the same layout; their sizes can differ. Foreground is a mask
    value above 127. Sequences are called `SET_VIDEO` and form the split "train".
    """

    EXPECTED: ClassVar[str] = "folders of videos, each with images + masks"

    @classmethod
    def find_sets(cls, source: str) -> dict[str, Path]:
        """Finds the sets that a source names, see `sets.find_sets`."""
        return find_sets(source, lambda folder: bool(_list_videos(folder)), cls.EXPECTED)

    @classmethod
    def scan(cls, source: Path) -> Scan:
        scan = Scan()
        videos = _list_videos(source)
        if not videos:
            scan.problems.append(f"{source} holds no videos: expected {cls.EXPECTED}")
            return scan
        scan.splits["train"] = [frame for video in videos for frame in _scan_video(source.name, video, scan)]
        return scan


def _list_videos(folder: Path) -> list[Path]:
    videos = (path for path in folder.iterdir() if (path / "images").is_dir() and (path / "masks").is_dir())
    return sorted(videos, key=natural_key)


def _scan_video(set_name: str, video: Path, scan: Scan) -> list[Frame]:
    images, masks = list_files(video / "images", video / "masks", scan.problems)
    if surplus := len(masks.keys() - images.keys()):
        scan.notes.append(f"{video / 'masks'} has {surplus} masks without an image: not used")
    if not images:
        scan.problems.append(f"{video / 'images'} holds no images: expected the frames of {video.name}")
    elif not images.keys() & masks.keys():
        scan.problems.append(f"{video / 'masks'} holds no mask of an image: expected one with the image's stem")
    stems = sorted(images, key=lambda stem: natural_key(images[stem]))
    return [Frame(f"{set_name}_{video.name}", stem, images[stem], masks.get(stem)) for stem in stems]
