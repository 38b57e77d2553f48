"""Masks of a video as run lengths in a JSON file, in the format of COCO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cosnet_jax.files import write_text
from cosnet_jax.video.reader import ImageFolder, StoredVideo

CATEGORY = {"id": 1, "name": "object", "supercategory": "object"}


class CocoWriter:
    """Writes the masks of a video as its frames come, used in a `with` block; the file appears when the block ends.

    Each frame is an image, whose id counts from 1 and whose name is that of the input's image, or for a video file that
    of the mask. Each frame with an object in it has one annotation of the same id: run lengths as pycocotools has them,
    their area in pixels and the box around them.
    """

    def __init__(self, path: Path, video: StoredVideo):
        self._path, self._frame = path, 0
        self._annotations: list[dict[str, Any]] = []
        is_folder = isinstance(video, ImageFolder)
        names = [file.name for file in video.files] if is_folder else [f"{name}.png" for name in video.frame_names]
        size = {"height": video.size[0], "width": video.size[1]}
        images = [{"id": number, "file_name": name, **size} for number, name in enumerate(names, 1)]
        self._head = {"info": {"description": video.name}, "categories": [CATEGORY], "images": images}

    def write(self, mask: np.ndarray) -> None:
        """Adds the next frame's mask, bool (H, W)."""
        from pycocotools import mask as library

        self._frame += 1
        if not mask.any():
            return
        runs = library.encode(np.asfortranarray(mask, dtype=np.uint8))
        self._annotations.append(
            {
                "id": self._frame,
                "image_id": self._frame,
                "category_id": CATEGORY["id"],
                "iscrowd": 0,
                "segmentation": {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")},
                "area": int(library.area(runs)),
                "bbox": library.toBbox(runs).tolist(),
            }
        )

    def __enter__(self) -> CocoWriter:
        return self

    def __exit__(self, kind, value, traceback) -> None:
        if kind is None:
            write_text(self._path, json.dumps({**self._head, "annotations": self._annotations}) + "\n")
