"""A visitor's clip of `cosnet app`: checked, segmented, shown. Knows nothing of the page."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.commands.app_upload import Limits, check_in_child
from cosnet_jax.commands.segment_output import MASKS, OVERLAY, ResultWriter, make_outputs
from cosnet_jax.commands.segment_video import frames_and_maps
from cosnet_jax.errors import InputError
from cosnet_jax.files import report_write_errors, writable_folder
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.video.reader import open_video

MASKS_ZIP = "masks.zip"


class Model(NamedTuple):
    """A trained network, with the configuration that it was trained with."""

    variables: dict[str, Any]
    config: ConfigDict


@dataclasses.dataclass(frozen=True)
class Choices:
    """How a clip is segmented."""

    keep: tuple[int, int, int] | None  # see `frames_and_maps`
    sharpen: bool  # whether a CRF sharpens the edges
    background: str  # of the cut-out, see `read_background`; "" for transparency
    feather: float  # pixels by which the edge of the cut-out is softened
    temporal_smoothing: float  # see `InferenceConfig`


class Clip:
    """A visitor's video and what was made of it, in a folder of its own.

    Attributes:
      video: the upload, scaled down if it was large.
      results: the files of the last segmentation by what they show ("Masks", "Cut-out", "Overlay"); {} before.
      stopped: whether a segmentation that is under way stops.
    """

    def __init__(self, upload: Path, folder: Path, limits: Limits):
        """Copies an upload to a new folder in `folder`, of a name that nobody can guess, and checks it.

        Raises:
          InputError: it is no video, or beyond a limit; nothing is left of it then.
        """
        self.stopped, self.results = False, dict[str, Path]()
        self._folder = writable_folder(folder / secrets.token_hex(16))
        try:
            with report_write_errors(upload.name):
                copy = Path(shutil.copy(upload, self._folder / upload.name))
            self.video = open_video(check_in_child(copy, limits))
        except InputError as error:
            self.remove()
            raise InputError(f"{upload.name}: {str(error).removeprefix(f'{self._folder}/{upload.name}: ')}") from None

    def describe(self) -> str:
        """Returns what the video is, in one line."""
        (height, width), length, seconds = self.video.size, len(self.video), float(len(self.video) / self.video.fps)
        return f"{self.video.path.name}: {length} frame{'s'[: length > 1]}, {width} x {height}, {seconds:.1f} s"

    def segment(self, model: Model, choices: Choices) -> Iterator[int]:
        """Segments the video. In the end, the results take the place of earlier ones.

        Yields:
          How many frames are done.

        Raises:
          InputError: there is nothing to keep, a frame cannot be read, a file cannot be written, or it was stopped.
        """
        self.stopped = False
        params = dataclasses.replace(InferenceConfig.read(model.config.inference).crf, enabled=choices.sharpen)
        segmenter = Segmenter.from_config(
            model.config, model.variables, crf=params, temporal_smoothing=choices.temporal_smoothing
        )
        background = choices.background or None
        cutout = None if background else "webm"
        outputs = make_outputs(cutout=cutout, background=background, feather=choices.feather)
        folder = writable_folder(self._folder / secrets.token_hex(4))  # a new name: browsers keep what an earlier had
        try:
            with (
                contextlib.closing(frames_and_maps(segmenter, self.video, choices.keep)) as results,
                ResultWriter(folder, self.video, outputs) as writer,
            ):
                for number, (frame, probability) in enumerate(results, 1):
                    if self.stopped:
                        raise InputError("stopped")
                    writer.write(frame, probability)
                    yield number
            with report_write_errors(folder / MASKS_ZIP), zipfile.ZipFile(folder / MASKS_ZIP, "w") as archive:
                for name in self.video.frame_names:
                    archive.write(folder / MASKS / f"{name}.png", f"{MASKS}/{name}.png")
        except InputError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        for file in self.results.values():
            shutil.rmtree(file.parent, ignore_errors=True)
        names = {"Cut-out": outputs[-1].name, "Overlay": OVERLAY, "Masks": MASKS_ZIP}
        self.results = {shown: folder / name for shown, name in names.items()}

    def picture(self, frame: int) -> np.ndarray:
        """Returns a frame with its mask, to click on."""
        return open_video(self.results["Overlay"]).read([min(frame, len(self.video) - 1)])[0]

    def remove(self) -> None:
        """Removes the upload and all that was made of it."""
        self.stopped = True
        shutil.rmtree(self._folder, ignore_errors=True)
