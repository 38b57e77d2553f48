"""YouTube-Objects: 126 sequences of ten categories, annotated every few frames."""

from __future__ import annotations

from pathlib import Path

from cosnet_jax.data.builders.base import FramesBuilder, Scan
from cosnet_jax.data.builders.folders import list_video
from cosnet_jax.evaluation.protocols import CATEGORIES
from cosnet_jax.files import natural_key


class YoutubeObjects(FramesBuilder):
    """YouTube-Objects (Prest et al., CVPR 2012) with the masks of Jain and Grauman (ECCV 2014).

    Sequences are called `CATEGORY_VIDEO_SHOT`. For research.
    """

    LAYOUT = "CATEGORY/data/VIDEO/shots/SHOT/images/*.png and .../labels/*.jpg"

    @classmethod
    def scan(cls, source: Path) -> Scan:
        scan = Scan()
        scan.splits["test"] = []
        if missing := [category for category in CATEGORIES if not (source / category / "data").is_dir()]:
            scan.notes.append(f"{source} lacks the categories {', '.join(missing)}")
        for category in CATEGORIES:
            for shot in sorted((source / category / "data").glob("*/shots/*/"), key=natural_key):
                name = f"{category}_{shot.parent.parent.name}_{shot.name}"
                scan.splits["test"] += list_video(name, shot / "images", shot / "labels", scan)
        return scan
