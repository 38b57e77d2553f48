"""A visitor's clip of `cosnet app`: checked, segmented, shown frame by frame, explained. Knows nothing of the page."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.checkpoints.store import load_checkpoint
from cosnet_jax.commands.segment_cutout import make_cutouts
from cosnet_jax.commands.segment_output import MASKS, OVERLAY, Outputs, ResultWriter
from cosnet_jax.commands.segment_video import common_references
from cosnet_jax.errors import InputError
from cosnet_jax.files import report_write_errors, writable_folder, write_bytes
from cosnet_jax.inference.attention_maps import attention_maps
from cosnet_jax.inference.read_ahead import read_ahead
from cosnet_jax.inference.segmenter import Prediction, Segmenter
from cosnet_jax.video.reader import StoredVideo, open_video
from cosnet_jax.visualization.cutouts import alpha_of, lay_over
from cosnet_jax.visualization.explanation import lay_map_over, mark_pixel
from cosnet_jax.visualization.overlays import overlay

VIEWS = ("Original", "Mask", "Cut-out", "Overlay")
MASKS_ZIP = "masks.zip"
CUTOUTS = make_cutouts("webm", None, 0.0)
OUTPUTS = Outputs(overlay=True, cutouts=CUTOUTS)
LONGEST_SIDE = 960  # of the pictures on the page, in pixels
SQUARE = 12  # of the chessboard behind a cut-out, in pixels
GREYS = 200, 235
MAX_SECONDS = 86_400
MAX_RATE = 60  # frames per second of the longest clip
MOST_REFERENCES = 10


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a visitor may upload.

    Attributes:
      seconds: longest duration; it holds at most `MAX_RATE` frames a second.
      side: most pixels of the longer side.

    Raises:
      InputError: a limit is out of range.
    """

    seconds: float = 30.0
    side: int = 1920

    def __post_init__(self):
        if not 0 < self.seconds <= MAX_SECONDS:
            raise InputError(f"--max-seconds is {self.seconds:g}; expected more than 0, at most {MAX_SECONDS}")
        if self.side < 1:
            raise InputError(f"--max-side is {self.side}; expected 1 pixel or more")

    @property
    def frames(self) -> int:
        """Most frames."""
        return max(int(self.seconds * MAX_RATE), 1)

    def check(self, video: StoredVideo) -> None:
        """Raises an InputError that says what is too long or too large, and what to do."""
        name, (height, width) = video.path.name, video.size
        seconds = duration(video)
        if seconds > self.seconds:
            raise InputError(f"{name} is {seconds:.1f} s long; this page takes {self.seconds:g}. Upload a part of it.")
        if max(height, width) > self.side:
            raise InputError(f"{name} is {width} x {height}; this page takes {self.side} pixels a side. Scale it down.")


def duration(video: StoredVideo) -> float:
    """Returns how long a video is, in seconds, its last frame included."""
    return float(len(video) / video.fps)


@dataclasses.dataclass(frozen=True)
class Model:
    """A trained network, with the configuration that it was trained with."""

    variables: dict[str, Any]
    config: ConfigDict

    @classmethod
    def load(cls, checkpoint: str | Path) -> Model:
        """Loads it, see `Segmenter.from_pretrained`, which it can be given to."""
        variables, config = load_checkpoint(checkpoint)
        Segmenter.from_config(config, variables)  # raises an InputError if a stored setting is missing or wrong
        return cls(variables, config)

    def segmenter(self, num_references: int, sampling: str) -> Segmenter:
        """Returns the segmenter for these options; all of them share what is compiled."""
        return Segmenter.from_config(self.config, self.variables, num_references=num_references, sampling=sampling)


class Clip:
    """A visitor's video and what was made of it.

    Attributes:
      video: the upload.
      used: when it was last used, by `time.monotonic`.
      left: whether the visitor closed the page; a segmentation stops then.
    """

    def __init__(self, upload: Path, private: Path, public: Path, limits: Limits):
        """Takes over an upload: its file is moved, and removed with the clip.

        Args:
          upload: the file.
          private: a folder for the clip, which the page must not serve.
          public: a folder for the clip whose files the page serves.
          limits: what is taken.

        Raises:
          InputError: it is no video, or beyond a limit; nothing is left of it then.
        """
        self.used, self.left = time.monotonic(), False
        self._private, self._public = private, public
        self._folder: Path | None = None
        try:
            for folder in (private, public):
                writable_folder(folder)
            with report_write_errors(upload.name):
                shutil.move(upload, private / upload.name)
            self.video = open_video(private / upload.name, limits.frames)
            limits.check(self.video)
        except BaseException:
            self.remove()
            raise
        height, width = self.video.size
        scale = min(1.0, LONGEST_SIDE / max(height, width))
        self._size = max(1, round(height * scale)), max(1, round(width * scale))

    def describe(self) -> str:
        """Returns what the video is, in one line."""
        height, width = self.video.size
        return f"{self.video.path.name}: {len(self.video)} frames, {width} x {height}, {duration(self.video):.1f} s"

    def segment(self, model: Model, num_references: int, sampling: str) -> Iterator[int]:
        """Segments the video anew; what was made before is removed.

        Args:
          model: the network.
          num_references: N, see `InferenceConfig`.
          sampling: as there.

        Yields:
          How many frames are done.

        Raises:
          InputError: N is above `MOST_REFERENCES`, a frame cannot be read, a file cannot be written, or the visitor
            left.
        """
        if num_references > MOST_REFERENCES:  # `answers` holds so many frames in memory
            raise InputError(f"N is {num_references}; this page takes at most {MOST_REFERENCES}")
        self._remove_results()
        self._segmenter = model.segmenter(num_references, sampling)
        self._references = self._segmenter.references(len(self.video))
        with report_write_errors(self._public):
            folder = Path(tempfile.mkdtemp(dir=self._public))  # a new name: browsers keep what an earlier one had
        with (
            contextlib.closing(read_ahead(self._segmenter.predict(self.video))) as predictions,
            ResultWriter(folder, self.video, OUTPUTS, common_references(self._references)) as writer,
        ):
            for result in predictions:
                if self.left:
                    raise InputError("stopped, for the page was closed. Upload the video again.")
                writer.write(result.frame, result.probabilities[0])
                self._write_pictures(folder, result)
                self.used = time.monotonic()
                yield result.number + 1
        with report_write_errors(folder / MASKS_ZIP), zipfile.ZipFile(folder / MASKS_ZIP, "w") as archive:
            for name in self.video.frame_names:
                archive.write(folder / MASKS / f"{name}.png", f"{MASKS}/{name}.png")
        self._folder = folder

    def downloads(self) -> tuple[Path, Path, Path]:
        """Returns the files to download: masks, cut-out, overlay."""
        folder = self._results()
        return folder / MASKS_ZIP, folder / CUTOUTS[0].name, folder / OVERLAY

    def picture(self, frame: int, view: str) -> Path:
        """Returns a JPEG file of a frame.

        Args:
          frame: its number, from 0.
          view: one of `VIEWS`.

        Raises:
          InputError: the video is not segmented, or there is no such view. A request need not come from the page.
        """
        if view not in VIEWS:
            raise InputError(f"there is no view {view!r}; expected one of {', '.join(VIEWS)}")
        return self._results() / picture_name(min(frame, len(self.video) - 1), view)

    def answers(self, model: Model, frame: int, place: tuple[int, int]) -> list[tuple[Path, str]]:
        """Shows which places of its references answered a pixel of a frame.

        Args:
          model: the network that segmented.
          frame: its number, from 0.
          place: (x, y) in the frame's `picture`.

        Returns:
          Pictures with their captions: the frame with a cross, then each reference, coloured by the pixel's attention.

        Raises:
          InputError: the video is not segmented, or the frame was compared with no other.
        """
        folder, frame = self._results(), min(frame, len(self.video) - 1)
        references = self._references[frame].tolist()
        if not references:
            raise InputError("no other frame was asked: with N = 0 a frame stands alone. Choose N = 1 or more.")
        clip = self.video.read([frame, *references])
        x, y = (
            min(at * length // shown, length - 1)
            for at, length, shown in zip(place, self.video.size[::-1], self._size[::-1], strict=True)
        )
        maps = attention_maps(self._segmenter, clip, (y, x))[0]
        pictures = [mark_pixel(clip[0], (y, x))]
        pictures += [lay_map_over(image, heat, heat.max()) for image, heat in zip(clip[1:], maps, strict=True)]
        captions = [f"frame {frame}, clicked", *(f"frame {number}" for number in references)]
        paths = [folder / f"{frame:05d}-{x}-{y}-{number}.jpg" for number in range(len(pictures))]
        for path, picture in zip(paths, pictures, strict=True):
            write_bytes(path, self._encode(picture))
        self.used = time.monotonic()
        return list(zip(paths, captions, strict=True))

    def remove(self) -> bool:
        """Removes the upload and all that was made of it.

        Returns:
          Whether nothing is left. A segmentation that stops just now may write while its folder is removed.
        """
        self.left = True
        folders = (self._private, self._public)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        return not any(folder.exists() for folder in folders)

    def _results(self) -> Path:
        if self._folder is None:
            raise InputError("this video is not segmented yet. Choose Segment.")
        self.used = time.monotonic()
        return self._folder

    def _remove_results(self) -> None:
        self._folder = None
        for folder in self._public.iterdir():
            shutil.rmtree(folder, ignore_errors=True)

    def _write_pictures(self, folder: Path, result: Prediction) -> None:
        frame, probability = self._shrink(result.frame), self._shrink(result.probabilities[0])
        mask = probability > 0.5
        pictures = (
            frame,
            np.repeat(255 * mask[..., None].astype(np.uint8), 3, axis=2),
            lay_over(frame, alpha_of(probability), chessboard(self._size)),
            overlay(frame, mask),
        )
        for view, picture in zip(VIEWS, pictures, strict=True):
            write_bytes(folder / picture_name(result.number, view), self._encode(picture))

    def _shrink(self, image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, self._size[::-1], interpolation=cv2.INTER_AREA)

    def _encode(self, picture: np.ndarray) -> bytes:
        return cv2.imencode(".jpg", cv2.cvtColor(self._shrink(picture), cv2.COLOR_RGB2BGR))[1].tobytes()


def picture_name(frame: int, view: str) -> str:
    return f"{frame:05d}-{view.lower()}.jpg"


def chessboard(size: tuple[int, int]) -> np.ndarray:
    """Draws what stands for transparency: (H, W, 3) uint8, grey squares of two kinds."""
    rows, columns = np.indices(size) // SQUARE
    board = np.take(np.array(GREYS, np.uint8), (rows + columns) % 2)
    return np.repeat(board[..., None], 3, axis=2)
