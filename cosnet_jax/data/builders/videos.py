"""Any sets of videos, or of groups of photographs, in folders `VIDEO/images` + `VIDEO/masks`."""

from __future__ import annotations

from pathlib import Path

from cosnet_jax.data.builders.base import FramesBuilder, Scan
from cosnet_jax.data.builders.folders import MAPS, list_video
from cosnet_jax.files import natural_key


class Videos(FramesBuilder):
    """A set of the user's own videos: `VIDEO/images/*` and `VIDEO/masks/*` with equal stems, in natural order.

    A frame without a mask is kept as an unannotated one; a video needs one mask at least. Groups of photographs of the
    same object, or of objects of the same class, have the same layout; their sizes can differ. `VIDEO/maps` in place of
    `masks` holds soft masks. Sequences are called `SET_VIDEO` and form the split "train".
    """

    LAYOUT = "folders of videos, each with images + masks (or maps)"
    SEVERAL = True

    @classmethod
    def scan(cls, source: Path) -> Scan:
        scan = Scan()
        scan.splits["train"] = []
        for video in sorted(source.glob("[!.]*/"), key=natural_key):
            masks = video / "masks" if (video / "masks").is_dir() else video / MAPS
            if (video / "images").is_dir() and masks.is_dir():
                scan.splits["train"] += list_video(f"{source.name}_{video.name}", video / "images", masks, scan)
        return scan
