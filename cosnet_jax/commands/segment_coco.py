"""Masks of a video as run lengths in a JSON file, in the format of COCO."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from cosnet_jax.files import report_write_errors, temporary_name
from cosnet_jax.video.reader import ImageFolder, StoredVideo

CATEGORY = {"id": 1, "name": "object", "supercategory": "object"}


class CocoWriter:
    """Writes the masks of a video as its frames come, used in a `with` block; the file appears when the block ends.

    Each frame is an image, whose id counts from 1 and whose name is that of the input's image, or for a video file that
    of the mask. Each frame with an object in it has one annotation of the same id: run lengths as pycocotools has them,
    their area in pixels and the box around them.

    Args:
      path: the file.
      video: whose frames will be written.

    Raises:
      InputError: the file cannot be written, at once or later (full disk).
    """

    def __init__(self, path: Path, video: StoredVideo):
        from pycocotools import mask

        self._library, self._path, self._temporary = mask, path, temporary_name(path)
        self._frame = self._annotations = 0
        (height, width), names = video.size, [f"{name}.png" for name in video.frame_names]
        if isinstance(video, ImageFolder):
            names = [file.name for file in video.files]
        images = [
            {"id": number, "file_name": name, "height": height, "width": width} for number, name in enumerate(names, 1)
        ]
        head = {"info": {"description": video.name}, "categories": [CATEGORY], "images": images}
        with contextlib.ExitStack() as files, report_write_errors(path):
            self._file = files.enter_context(self._temporary.open("w", encoding="utf-8"))
            files.callback(self._temporary.unlink)
            self._file.write(json.dumps(head)[:-1] + ', "annotations": [')
            files.pop_all()

    def write(self, mask: np.ndarray) -> None:
        """Writes the next frame's mask, bool (H, W).

        Raises:
          InputError: see the class.
        """
        self._frame += 1
        if mask.any():
            comma = "," if self._annotations else ""
            self._annotations += 1
            with report_write_errors(self._path):
                self._file.write(f"{comma}\n{json.dumps(self._annotation(mask))}")

    def _annotation(self, mask: np.ndarray) -> dict[str, Any]:
        runs = self._library.encode(np.asfortranarray(mask, dtype=np.uint8))
        return {
            "id": self._frame,
            "image_id": self._frame,
            "category_id": CATEGORY["id"],
            "iscrowd": 0,
            "segmentation": {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")},
            "area": int(self._library.area(runs)),
            "bbox": self._library.toBbox(runs).tolist(),
        }

    def __enter__(self) -> CocoWriter:
        return self

    def __exit__(self, kind, value, traceback) -> None:
        try:
            with report_write_errors(self._path):
                if kind is None:
                    self._file.write("\n]}\n")
                self._file.close()
                if kind is None:
                    self._temporary.replace(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)
