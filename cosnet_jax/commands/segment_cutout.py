"""Cut-outs of `cosnet segment`: the object with transparency, or over another background."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.files import expanded, writable_folder, write_bytes
from cosnet_jax.inference.provenance import digest_of
from cosnet_jax.video.encodings import MP4, PRORES, WEBM, Encoding
from cosnet_jax.video.images import is_image
from cosnet_jax.video.reader import StoredVideo, open_video
from cosnet_jax.video.sound import sound_of
from cosnet_jax.video.writer import VideoWriter
from cosnet_jax.visualization.cutouts import alpha_of, blurred_background, cut_out, fill, lay_over

FOLDER = "cutout"  # of RGBA images
TRANSPARENT: dict[str, Encoding | None] = {"webm": WEBM, "prores": PRORES, "png": None}
FILES = ("cutout.webm", "cutout.mov", "cutout.mp4")
COLOURS = {"white": (255, 255, 255), "black": (0, 0, 0)}
BLUR = "blur"


@dataclasses.dataclass(frozen=True)
class Background:
    """What is behind the object: a colour, a picture, or, with neither, what was there, blurred."""

    colour: tuple[int, ...] | None = None  # RGB, 0-255
    picture: np.ndarray | None = None  # (h, w, 3) uint8 RGB, of any size

    @classmethod
    def parse(cls, text: str) -> Background:
        """Makes a background of `white`, `black`, `#rrggbb`, `blur` or the name of an image file.

        Raises:
          InputError: it is none of these, or the image cannot be read.
        """
        if text == BLUR:
            return cls()
        if text in COLOURS:
            return cls(COLOURS[text])
        if re.fullmatch("#[0-9a-fA-F]{6}", text):
            return cls(tuple(bytes.fromhex(text[1:])))
        path = expanded(text)
        if not is_image(path) or not path.is_file():
            raise InputError(f"--background is {text!r}; expected white, black, '#rrggbb', blur or an image file")
        return cls(picture=next(iter(open_video(path))))

    def record(self) -> Any:
        """Returns what tells it from other backgrounds, for JSON."""
        if self.picture is not None:
            return digest_of(f"{self.picture.shape}".encode(), self.picture.tobytes())
        return BLUR if self.colour is None else list(self.colour)


@dataclasses.dataclass(frozen=True)
class Cutout:
    """A kind of cut-out."""

    encoding: Encoding | None  # of the video; None for images
    background: Background | None  # what is behind the object in an opaque video, else None
    feather: float  # see `alpha_of`

    @property
    def name(self) -> str:
        """Of the file or the folder of images."""
        return f"cutout{self.encoding.suffix}" if self.encoding else FOLDER

    def record(self) -> dict[str, Any]:
        """Returns what tells it from other kinds of cut-outs, for JSON."""
        return {"background": self.background.record() if self.background else None, "feather": self.feather}


def make_cutouts(cutout: str | None, background: str | None, feather: float) -> tuple[Cutout, ...]:
    """Makes the kinds of cut-outs that options ask for: one with transparency, one over a background, or both.

    Args:
      cutout: a key of `TRANSPARENT`, or None.
      background: as in `Background.parse`, or None.
      feather: pixels by which the edge is softened.

    Raises:
      InputError: an option is unknown or out of range, or the feather has nothing to soften.
    """
    if cutout and cutout not in TRANSPARENT:
        raise InputError(f"--cutout is {cutout!r}; expected one of {', '.join(TRANSPARENT)}")
    if not 0 <= feather <= 100:
        raise InputError(f"--feather is {feather}; expected 0 to 100 pixels")
    if feather and not cutout and background is None:
        raise InputError("--feather softens the edge of a cut-out; it needs --cutout or --background")
    transparent = [Cutout(TRANSPARENT[cutout], None, feather)] if cutout else []
    opaque = [Cutout(MP4, Background.parse(background), feather)] if background is not None else []
    return (*transparent, *opaque)


class CutoutWriter:
    """Writes the cut-out of a video as its frames come, used in a `with` block.

    A video has the input's times and sound. It appears when the block ends, each image when its frame comes.

    Raises:
      InputError: the folder cannot be written to, at once or later (full disk), or the input's sound cannot be read.
    """

    def __init__(self, folder: Path, video: StoredVideo, cutout: Cutout, threshold: float):
        self._cutout, self._threshold, self._names = cutout, threshold, iter(video.frame_names)
        self._path, self._behind = folder / cutout.name, None
        if cutout.encoding:
            times, sound = (video.fps, video.timestamps), sound_of(video)
            self._video = VideoWriter(self._path, video.size, *times, cutout.encoding, sound, video.sample_aspect)
        else:
            writable_folder(self._path)
        if cutout.background:
            picture = cutout.background.picture
            self._behind = cutout.background.colour if picture is None else fill(picture, video.size)

    def write(self, image: np.ndarray, probability: np.ndarray) -> None:
        """Writes the next frame, uint8 RGB (H, W, 3), with its probabilities (H, W) in [0, 1]."""
        alpha = alpha_of(probability, self._threshold, self._cutout.feather)
        if self._cutout.background:
            behind = blurred_background(image, alpha) if self._behind is None else self._behind
            self._video.write(lay_over(image, alpha, behind))
        elif self._cutout.encoding:
            self._video.write(cut_out(image, alpha))
        else:
            encoded = cv2.imencode(".png", cv2.cvtColor(cut_out(image, alpha), cv2.COLOR_RGBA2BGRA))[1].tobytes()
            write_bytes(self._path / f"{next(self._names)}.png", encoded)

    def __enter__(self) -> CutoutWriter:
        return self

    def __exit__(self, kind, value, traceback) -> None:
        if self._cutout.encoding:
            self._video.__exit__(kind, value, traceback)
