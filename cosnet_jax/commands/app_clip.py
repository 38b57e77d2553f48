"""A visitor's clip of `cosnet app`: checked, segmented, shown, explained. Knows nothing of the page."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.commands.app_upload import PATIENCE, Limits, check_upload, duration, in_child
from cosnet_jax.commands.segment_output import MASKS, OVERLAY, ResultWriter, make_outputs, read_background
from cosnet_jax.commands.segment_video import common_references, frames_and_maps
from cosnet_jax.errors import InputError
from cosnet_jax.files import report_write_errors, writable_folder
from cosnet_jax.inference.attention_maps import attention_maps
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.video.reader import open_video
from cosnet_jax.video.writer import VideoWriter
from cosnet_jax.visualization.cutouts import alpha_of, lay_over
from cosnet_jax.visualization.explanation import lay_map_over, mark_pixel
from cosnet_jax.visualization.overlays import overlay

VIEWS = {"Cut-out": "cut-out-small.mp4", "Overlay": "overlay-small.mp4", "Mask": "mask.mp4", "Original": "original.mp4"}
MASKS_ZIP = "masks.zip"
LONGEST_SIDE = 960  # of the videos on the page, in pixels
SQUARE, GREYS = 12, (200, 235)  # pixels and colours of the chessboard behind a cut-out
MOST_REFERENCES = 10  # `answers` holds so many frames in memory


class Model(NamedTuple):
    """A trained network, with the configuration that it was trained with."""

    variables: dict[str, Any]
    config: ConfigDict


@dataclasses.dataclass(frozen=True)
class Choices:
    """How a clip is segmented."""

    sharpen: bool  # whether a CRF sharpens the edges
    background: str  # of the cut-out, see `read_background`; "" for transparency
    feather: float  # pixels by which the edge of the cut-out is softened
    temporal_smoothing: float  # this and the following as in `InferenceConfig`
    num_references: int
    sampling: str


class Clip:
    """A visitor's video and what was made of it, in a folder of its own.

    Attributes:
      video: the upload, scaled down if it was large.
      stopped: whether a segmentation that is under way stops.
    """

    def __init__(self, upload: Path, folder: Path, limits: Limits):
        """Copies an upload to a new folder in `folder`, of a name that nobody can guess, and checks it.

        Raises:
          InputError: it is no video, or beyond a limit; nothing is left of it then.
        """
        self.stopped = False
        self._results: Path | None = None
        self._folder = writable_folder(folder / secrets.token_hex(16))
        try:
            with report_write_errors(upload.name):
                copy = Path(shutil.copy(upload, self._folder / upload.name))
            path = in_child(check_upload, copy, limits, seconds=PATIENCE * (limits.seconds + 1))
            self.video = open_video(path)
        except InputError as error:
            self.remove()
            raise InputError(f"{upload.name}: {str(error).removeprefix(f'{self._folder}/{upload.name}: ')}") from None
        scale = min(1.0, LONGEST_SIDE / max(self.video.size))
        self._size = max(1, round(self.video.size[0] * scale)), max(1, round(self.video.size[1] * scale))

    def describe(self) -> str:
        """Returns what the video is, in one line."""
        height, width = self.video.size
        length = count(len(self.video), "frame")
        return f"{self.video.path.name}: {length}, {width} x {height}, {duration(self.video):.1f} s"

    def segment(self, model: Model, choices: Choices) -> Iterator[int]:
        """Segments the video; what was made before is removed.

        Yields:
          How many frames are done.

        Raises:
          InputError: N is above `MOST_REFERENCES`, a frame cannot be read, a file cannot be written, or it was stopped.
        """
        if choices.num_references > MOST_REFERENCES:
            raise InputError(f"N is {choices.num_references}; this page takes at most {MOST_REFERENCES}")
        if self._results:
            shutil.rmtree(self._results, ignore_errors=True)
        self.stopped, self._results = False, None
        names = ("num_references", "sampling", "temporal_smoothing")
        settings = {name: getattr(choices, name) for name in names}
        params = InferenceConfig.read(model.config.inference).crf
        params = dataclasses.replace(params, enabled=choices.sharpen)
        self._segmenter = Segmenter.from_config(model.config, model.variables, crf=params, **settings)
        self._references = self._segmenter.references(len(self.video))
        background = choices.background or None
        self._behind = read_background(background)[0] if background else None
        cutout = None if background else "webm"
        outputs = make_outputs(cutout=cutout, background=background, feather=choices.feather)
        self._cutout = outputs[-1]
        folder = writable_folder(self._folder / secrets.token_hex(4))  # a new name: browsers keep what an earlier had
        marked = common_references(self._references)
        with (
            contextlib.closing(frames_and_maps(self._segmenter, self.video)) as results,
            ResultWriter(folder, self.video, outputs, marked) as writer,
            contextlib.ExitStack() as files,
        ):
            times = self.video.fps, self.video.timestamps
            views = [files.enter_context(VideoWriter(folder / name, self._size, *times)) for name in VIEWS.values()]
            for number, (frame, probability) in enumerate(results, 1):
                if self.stopped:
                    raise InputError("stopped")
                writer.write(frame, probability)
                for view, picture in zip(views, self._pictures(frame, probability, choices.feather), strict=True):
                    view.write(picture)
                yield number
        with report_write_errors(folder / MASKS_ZIP), zipfile.ZipFile(folder / MASKS_ZIP, "w") as archive:
            for name in self.video.frame_names:
                archive.write(folder / MASKS / f"{name}.png", f"{MASKS}/{name}.png")
        self._results = folder

    def _pictures(self, frame: np.ndarray, probability: np.ndarray, feather: float) -> list[np.ndarray]:
        """Returns a frame's pictures of `VIEWS`."""
        frame, probability = self._shrink(frame), self._shrink(probability)
        mask, alpha = probability > 0.5, alpha_of(probability, feather=feather * self._size[0] / self.video.size[0])
        behind = self._behind(frame, alpha) if self._behind else chessboard(self._size)
        white = np.repeat(255 * mask[..., None].astype(np.uint8), 3, axis=2)
        return [lay_over(frame, alpha, behind), overlay(frame, mask), white, frame]

    def _shrink(self, image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, self._size[::-1], interpolation=cv2.INTER_AREA)

    def file(self, name: str) -> Path:
        """Returns a file of the results; raises an InputError before there are any."""
        if self._results is None:
            raise InputError("this video is not segmented yet. Choose Segment.")
        return self._results / name

    def downloads(self) -> list[Path]:
        """Returns the files to download: masks, cut-out, overlay."""
        folder = self.file("")
        return [folder / name for name in (MASKS_ZIP, self._cutout.name, OVERLAY)]

    def picture(self, frame: int) -> np.ndarray:
        """Returns a frame with its mask, to click on."""
        return open_video(self.file(VIEWS["Overlay"])).read([min(frame, len(self.video) - 1)])[0]

    def answers(self, frame: int, place: tuple[int, int]) -> list[tuple[np.ndarray, str]]:
        """Shows which places of its references answered a pixel of a frame.

        Args:
          frame: its number, from 0.
          place: (x, y) in the frame's `picture`.

        Returns:
          Pictures with their captions: the frame with a cross, then each reference, coloured by the pixel's attention.

        Raises:
          InputError: the frame was compared with no other.
        """
        frame = min(frame, len(self.video) - 1)
        references = self._references[frame].tolist()
        if not references:
            raise InputError("no other frame was asked: with N = 0 a frame stands alone. Choose N = 1 or more.")
        clip = self.video.read([frame, *references])
        sides = zip(place, self.video.size[::-1], self._size[::-1], strict=True)
        x, y = (min(at * length // shown, length - 1) for at, length, shown in sides)
        maps, _ = attention_maps(self._segmenter, clip, (y, x))
        pictures = [mark_pixel(clip[0], (y, x))]
        pictures += [lay_map_over(image, heat, heat.max()) for image, heat in zip(clip[1:], maps, strict=True)]
        captions = [f"frame {frame}, clicked", *(f"frame {number}" for number in references)]
        return list(zip(map(self._shrink, pictures), captions, strict=True))

    def remove(self) -> None:
        """Removes the upload and all that was made of it."""
        self.stopped = True
        shutil.rmtree(self._folder, ignore_errors=True)


def count(number: int, noun: str) -> str:
    """Returns e.g. "1 frame" or "2 frames"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def chessboard(size: tuple[int, int]) -> np.ndarray:
    """Draws what stands for transparency: (H, W, 3) uint8, grey squares of two kinds."""
    rows, columns = np.indices(size) // SQUARE
    board = np.take(np.array(GREYS, np.uint8), (rows + columns) % 2)
    return np.repeat(board[..., None], 3, axis=2)
