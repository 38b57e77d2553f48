"""Writes what segmenting a video gives: masks, probabilities, an overlay video and a contact sheet."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np

from cosnet_jax.files import atomic_write, remove_temporaries, writable_folder
from cosnet_jax.video.find import RECORD
from cosnet_jax.video.images import encode_mask
from cosnet_jax.video.reader import StoredVideo
from cosnet_jax.video.writer import VideoWriter
from cosnet_jax.visualization.contact_sheet import contact_sheet, sheet_frames, tile
from cosnet_jax.visualization.overlays import overlay

# What the folder of a video's results holds: two folders of images, and files.
MASKS, PROBABILITIES, OVERLAY, CONTACT_SHEET = "masks", "probabilities", "overlay.mp4", "contact_sheet.png"
IMAGES, FILES = (MASKS, PROBABILITIES), (OVERLAY, CONTACT_SHEET, RECORD)


class ResultWriter:
    """Writes the results of one video as its frames come, used in a `with` block.

    The folder receives `masks/<frame>.png` (0 and 255), `probabilities/<frame>.png` (16-bit grey: 65535 is 1) and, when
    the block ends, `overlay.mp4` and `contact_sheet.png`. A file under one of these names is whole: what is interrupted
    keeps the masks made so far and gets no new overlay and contact sheet.

    Args:
      folder: where to write; it is made if need be.
      video: whose frames will be written.
      references: numbers of its reference frames, marked in the contact sheet.
      threshold: a pixel is foreground where its probability is above this.
      save_overlay: whether to write the overlay video.
      save_probabilities: whether to write the probabilities.

    Raises:
      InputError: the folder cannot be written to, at once or later (full disk).
    """

    def __init__(
        self,
        folder: str | Path,
        video: StoredVideo,
        references: Collection[int] = (),
        threshold: float = 0.5,
        save_overlay: bool = True,
        save_probabilities: bool = False,
    ):
        self._folder, self._video, self._threshold = writable_folder(folder), video, threshold
        self._masks = writable_folder(self._folder / MASKS)
        self._probabilities = writable_folder(self._folder / PROBABILITIES) if save_probabilities else None
        self._references = {int(index) for index in references}
        self._tiles: dict[int, np.ndarray | None] = dict.fromkeys(sheet_frames(len(video), self._references))
        self._files, self._overlay, self._count = contextlib.ExitStack(), None, 0
        if save_overlay:
            path = self._folder / OVERLAY
            self._overlay = self._files.enter_context(VideoWriter(path, video.size, video.fps, video.timestamps))

    def write(self, image: np.ndarray, probability: np.ndarray) -> None:
        """Writes the next frame's results.

        Args:
          image: uint8 RGB (H, W, 3).
          probability: (H, W), in [0, 1].

        Raises:
          InputError: a file cannot be written (full disk), or a size is wrong.
        """
        index, mask = self._count, probability > self._threshold
        name = f"{self._video.frame_names[index]}.png"
        _write_bytes(self._masks / name, encode_mask(mask))
        if self._probabilities:
            # Rounded half down: above the middle grey is exactly what is above 0.5.
            levels = np.ceil(probability * 65535.0 - 0.5).astype(np.uint16)
            _write_bytes(self._probabilities / name, cv2.imencode(".png", levels)[1].tobytes())
        if self._overlay:
            self._overlay.write(overlay(image, mask))
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
        counts = [_number(len(self._video), "frame"), _number(len(self._references), "reference")]
        title = f"{self._video.name}: {', '.join(counts)}"
        sheet = contact_sheet(list(tiles.values()), names, [index in self._references for index in tiles], title)
        encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()
        _write_bytes(self._folder / CONTACT_SHEET, encoded)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _write_bytes(path: Path, data: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def is_complete(folder: Path, frame_names: Collection[str], save_overlay: bool, save_probabilities: bool) -> bool:
    """Tells whether a folder holds all that `ResultWriter` writes for these frames, and no images of others."""
    images, files = (IMAGES if save_probabilities else (MASKS,)), [CONTACT_SHEET, *([OVERLAY] if save_overlay else [])]
    wanted = {f"{name}.png" for name in frame_names}
    try:
        return all(set(os.listdir(folder / name)) == wanted for name in images) and all(
            (folder / name).is_file() for name in files
        )
    except OSError:
        return False


def remove_earlier(folder: Path, frame_names: Collection[str]) -> None:
    """Removes what earlier runs left in the folder of a video and this one will not write over.

    These are the masks and probabilities of other frames (the video was another one then) and temporary files of a
    process that was killed.

    Args:
      folder: of the results.
      frame_names: of the frames that will be written.
    """
    for images in (folder / name for name in IMAGES):
        for path in images.glob("*.png"):
            if path.stem not in frame_names:
                path.unlink()
        remove_temporaries(images, "*.png")
    for name in FILES:
        remove_temporaries(folder, name)
