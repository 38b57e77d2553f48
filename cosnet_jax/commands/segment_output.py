"""Writes what segmenting a video gives: masks, probabilities, an overlay video, a contact sheet, cut-outs."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosnet_jax.commands import segment_cutout
from cosnet_jax.commands.segment_coco import CocoWriter
from cosnet_jax.commands.segment_cutout import Cutout, CutoutWriter
from cosnet_jax.errors import InputError
from cosnet_jax.files import remove_temporaries, writable_folder, write_bytes
from cosnet_jax.video.find import RECORD
from cosnet_jax.video.images import encode_mask
from cosnet_jax.video.reader import StoredVideo
from cosnet_jax.video.writer import VideoWriter
from cosnet_jax.visualization.contact_sheet import contact_sheet, sheet_frames, tile
from cosnet_jax.visualization.overlays import overlay

# What the folder of a video's results holds: folders of images, and files.
MASKS, PROBABILITIES = "masks", "probabilities"
OVERLAY, CONTACT_SHEET, COCO = "overlay.mp4", "contact_sheet.png", "coco.json"
IMAGES = (MASKS, PROBABILITIES, segment_cutout.FOLDER)
FILES = (OVERLAY, CONTACT_SHEET, COCO, *segment_cutout.FILES)


@dataclass(frozen=True)
class Outputs:
    """What is written for a video, besides the masks and the contact sheet."""

    overlay: bool = True
    probabilities: bool = False
    coco: bool = False
    cutouts: tuple[Cutout, ...] = ()

    def record(self) -> dict[str, Any]:
        """The names, of `IMAGES` and `FILES`, that `ResultWriter` writes, each with its settings, for JSON."""
        wanted = {PROBABILITIES: self.probabilities, OVERLAY: self.overlay, COCO: self.coco}
        names = [MASKS, CONTACT_SHEET, *(name for name, is_wanted in wanted.items() if is_wanted)]
        return dict.fromkeys(names, True) | {cutout.name: cutout.record() for cutout in self.cutouts}


class ResultWriter:
    """Writes the results of one video as its frames come, used in a `with` block.

    The folder receives `masks/<frame>.png` (0 and 255), `probabilities/<frame>.png` (16-bit grey: 65535 is 1),
    `cutout/<frame>.png` (RGBA) and, when the block ends, the videos of the cut-outs, `overlay.mp4`, `coco.json` and
    `contact_sheet.png`. A file under one of these names is whole: what is interrupted keeps the images made so far and
    gets no new video, JSON or contact sheet.

    `references` are frames that the contact sheet marks; a pixel is foreground where it is above the `threshold`.

    Raises:
      InputError: the folder cannot be written to, at once or later (full disk), or the input's sound cannot be read.
    """

    def __init__(
        self,
        folder: str | Path,
        video: StoredVideo,
        outputs: Outputs,
        references: Collection[int] = (),
        threshold: float = 0.5,
    ):
        self._folder, self._video, self._threshold = writable_folder(folder), video, threshold
        self._masks = writable_folder(self._folder / MASKS)
        self._probabilities = writable_folder(self._folder / PROBABILITIES) if outputs.probabilities else None
        self._references = {int(index) for index in references}
        self._tiles: dict[int, np.ndarray | None] = dict.fromkeys(sheet_frames(len(video), self._references))
        self._overlay, self._coco, self._count = None, None, 0
        self._cutouts: list[CutoutWriter] = []
        with contextlib.ExitStack() as files:  # closes those that are open if another one cannot be made
            if outputs.overlay:
                path = self._folder / OVERLAY
                self._overlay = files.enter_context(
                    VideoWriter(path, video.size, video.fps, video.timestamps, sample_aspect=video.sample_aspect)
                )
            for cutout in outputs.cutouts:
                self._cutouts.append(files.enter_context(CutoutWriter(self._folder, video, cutout, threshold)))
            if outputs.coco:
                self._coco = files.enter_context(CocoWriter(self._folder / COCO, video))
            self._files = files.pop_all()

    def write(self, image: np.ndarray, probability: np.ndarray) -> None:
        """Writes the results of the next frame, uint8 RGB (H, W, 3), and its probabilities (H, W) in [0, 1]."""
        index, mask = self._count, probability > self._threshold
        name = f"{self._video.frame_names[index]}.png"
        write_bytes(self._masks / name, encode_mask(mask))
        if self._probabilities:
            # Rounded half down: above the middle grey is exactly what is above 0.5.
            levels = np.ceil(probability * 65535.0 - 0.5).astype(np.uint16)
            write_bytes(self._probabilities / name, cv2.imencode(".png", levels)[1].tobytes())
        if self._overlay:
            self._overlay.write(overlay(image, mask))
        for cutout in self._cutouts:
            cutout.write(image, probability)
        if self._coco:
            self._coco.write(mask)
        if index in self._tiles:
            self._tiles[index] = tile(image, mask)
        self._count += 1

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, kind, value, traceback) -> None:
        self._files.__exit__(kind, value, traceback)
        if kind is None:
            self._write_sheet()

    def _write_sheet(self) -> None:
        tiles = {index: picture for index, picture in self._tiles.items() if picture is not None}
        names = [self._video.frame_names[index] for index in tiles]
        title = f"{self._video.name}: {len(self._video)} frames, {len(self._references)} references"
        sheet = contact_sheet(list(tiles.values()), names, [index in self._references for index in tiles], title)
        encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()
        write_bytes(self._folder / CONTACT_SHEET, encoded)


def is_complete(folder: Path, video: StoredVideo, names: Collection[str]) -> bool:
    """Tells whether a folder holds the results of these names, with an image for each frame and no other."""
    wanted = {f"{name}.png" for name in video.frame_names}
    try:
        return all(
            set(os.listdir(folder / name)) == wanted if name in IMAGES else (folder / name).is_file() for name in names
        )
    except OSError:
        return False


def check_ours(folder: Path) -> None:
    """Checks that what a folder holds under the names of results was written by `cosnet segment`, which may replace it.

    Raises:
      InputError: there are such files and no `result.json`. They may be somebody's own masks.
    """
    images = (path for name in IMAGES for path in (folder / name).glob("*.png"))
    files = (folder / name for name in FILES if os.path.lexists(folder / name))
    if not (folder / RECORD).exists() and (found := next(itertools.chain(images, files), None)):
        raise InputError(
            f"{found}: would be replaced or removed, and without {RECORD} beside it may be no result of this command; "
            "expected another --output, or that this folder is removed first"
        )


def remove_earlier(
    folder: Path, frame_names: Collection[str], wanted: Collection[str], same: Collection[str]
) -> list[str]:
    """Removes results of earlier runs except those that this one writes over (`wanted`) and those of the same masks.

    Images of frames that the video no longer has and temporary files go too.

    Returns:
      The names of the results that are gone.
    """
    removed = []
    for name in IMAGES:
        remove_temporaries(folder / name, "*.png")
        frames = frame_names if name in {*wanted, *same} else ()
        others = [path for path in (folder / name).glob("*.png") if path.stem not in frames]
        for path in others:
            path.unlink()
        if others and not frames:
            removed.append(name)
            with contextlib.suppress(OSError):  # it holds something else
                (folder / name).rmdir()
    for name in (*FILES, RECORD):
        remove_temporaries(folder, name)
        if name not in {*wanted, *same, RECORD} and (folder / name).exists():
            (folder / name).unlink()
            removed.append(name)
    return removed
