"""Writes what segmenting a video gives: masks, probabilities, an overlay video, a contact sheet, cut-outs."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosnet_jax.commands import segment_cutout
from cosnet_jax.commands.segment_cutout import Cutout, CutoutWriter
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import remove_temporaries, writable_folder, write_bytes
from cosnet_jax.video.find import RECORD
from cosnet_jax.video.images import encode_mask
from cosnet_jax.video.reader import StoredVideo
from cosnet_jax.video.writer import VideoWriter
from cosnet_jax.visualization.contact_sheet import contact_sheet, sheet_frames, tile
from cosnet_jax.visualization.overlays import overlay

# What the folder of a video's results holds: folders of images, and files.
MASKS, PROBABILITIES, OVERLAY, CONTACT_SHEET = "masks", "probabilities", "overlay.mp4", "contact_sheet.png"
IMAGES = (MASKS, PROBABILITIES, segment_cutout.FOLDER)
FILES = (OVERLAY, CONTACT_SHEET, *segment_cutout.FILES)


@dataclass(frozen=True)
class Outputs:
    """What is written for a video, besides the masks and the contact sheet."""

    overlay: bool = True
    probabilities: bool = False
    cutouts: tuple[Cutout, ...] = ()

    def record(self) -> dict[str, Any]:
        """The names, of `IMAGES` and `FILES`, that `ResultWriter` writes, each with its settings, for JSON."""
        wanted = {MASKS: True, CONTACT_SHEET: True, PROBABILITIES: self.probabilities, OVERLAY: self.overlay}
        names = {name: True for name, is_wanted in wanted.items() if is_wanted}
        return names | {cutout.name: cutout.record() for cutout in self.cutouts}


class ResultWriter:
    """Writes the results of one video as its frames come, used in a `with` block.

    The folder receives `masks/<frame>.png` (0 and 255), `probabilities/<frame>.png` (16-bit grey: 65535 is 1),
    `cutout/<frame>.png` (RGBA) and, when the block ends, the videos of the cut-outs, `overlay.mp4` and
    `contact_sheet.png`. A file under one of these names is whole: what is interrupted keeps the images made so far and
    gets no new video or contact sheet.

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
        self._outputs, self._references, self._names = outputs, set(references), iter(video.frame_names)
        for name in (MASKS, PROBABILITIES) if outputs.probabilities else (MASKS,):
            writable_folder(self._folder / name)
        self._tiles: dict[str, np.ndarray] = {}
        self._shown = {video.frame_names[index]: index for index in sheet_frames(len(video), self._references)}
        with contextlib.ExitStack() as files:  # closes those that are open if another one cannot be made
            self._cutouts = [
                files.enter_context(CutoutWriter(self._folder, video, cutout, threshold)) for cutout in outputs.cutouts
            ]
            if outputs.overlay:
                path, times = self._folder / OVERLAY, (video.fps, video.timestamps)
                overlays = VideoWriter(path, video.size, *times, sample_aspect=video.sample_aspect)
                self._overlay = files.enter_context(overlays)
            self._files = files.pop_all()

    def write(self, image: np.ndarray, probability: np.ndarray) -> None:
        """Writes the results of the next frame, uint8 RGB (H, W, 3), and its probabilities (H, W) in [0, 1]."""
        name, mask = next(self._names), probability > self._threshold
        write_bytes(self._folder / MASKS / f"{name}.png", encode_mask(mask))
        if self._outputs.probabilities:
            # Rounded half down: above the middle grey is exactly what is above 0.5.
            levels = np.ceil(probability * 65535.0 - 0.5).astype(np.uint16)
            write_bytes(self._folder / PROBABILITIES / f"{name}.png", cv2.imencode(".png", levels)[1].tobytes())
        if self._outputs.overlay:
            self._overlay.write(overlay(image, mask))
        for cutout in self._cutouts:
            cutout.write(image, probability)
        if name in self._shown:
            self._tiles[name] = tile(image, mask)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, kind, value, traceback) -> None:
        self._files.__exit__(kind, value, traceback)
        if kind is None:
            title = f"{self._video.name}: {len(self._video)} frames, {len(self._references)} references"
            marked = [self._shown[name] in self._references for name in self._tiles]
            sheet = contact_sheet(list(self._tiles.values()), list(self._tiles), marked, title)
            encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()
            write_bytes(self._folder / CONTACT_SHEET, encoded)


def is_complete(folder: Path, video: StoredVideo, names: Collection[str]) -> bool:
    """Tells whether a folder holds the results of these names, with an image for each frame."""
    images = {f"{name}.png" for name in video.frame_names}
    return all(
        images <= {path.name for path in (folder / name).glob("*.png")} if name in IMAGES else (folder / name).is_file()
        for name in names
    )


def check_ours(folder: Path) -> None:
    """Checks that what a folder holds under the names of results was written by `cosnet segment`, which may replace it.

    Raises:
      InputError: there are such files and no `result.json`. They may be somebody's own masks.
    """
    for found in [folder / name for name in (*IMAGES, *FILES)]:
        if not (folder / RECORD).exists() and (any(found.iterdir()) if found.is_dir() else found.exists()):
            raise InputError(
                f"{found}: would be replaced, and without {RECORD} beside it may be no result of this command; "
                "expected another --output, or that this folder is removed first"
            )


def tidy(folder: Path, video: StoredVideo, wanted: Collection[str], same: Collection[str]) -> None:
    """Prepares a folder of results for another run.

    Temporary files go, and in the folders of images that are `wanted` those of frames that the video does not have. All
    else stays; what is neither wanted nor of the `same` masks is named.
    """
    images = {f"{name}.png" for name in video.frame_names}
    remove_temporaries(folder, "*")
    for name in IMAGES:
        remove_temporaries(folder / name, "*")
        for path in (folder / name).glob("*.png") if name in wanted else ():
            if path.name not in images:
                path.unlink()
    for name in (*IMAGES, *FILES):
        if name not in {*wanted, *same} and (folder / name).exists():
            print(printable(f"{folder / name}: an earlier run made it of other masks; it stays as it is"))
