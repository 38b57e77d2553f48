"""Writes what segmenting a video gives: masks, probabilities, an overlay video, a contact sheet, cut-outs."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.files import expanded, writable_folder, write_bytes
from cosnet_jax.inference.provenance import digest_of
from cosnet_jax.video.encodings import MP4, PRORES, WEBM, Encoding
from cosnet_jax.video.images import encode_mask, is_image
from cosnet_jax.video.reader import StoredVideo, open_video
from cosnet_jax.video.sound import sound_of
from cosnet_jax.video.writer import VideoWriter
from cosnet_jax.visualization.contact_sheet import contact_sheet, sheet_frames, tile
from cosnet_jax.visualization.cutouts import alpha_of, blurred_background, cut_out, fill, lay_over
from cosnet_jax.visualization.overlays import overlay

MASKS, PROBABILITIES, CUTOUT = "masks", "probabilities", "cutout"  # folders of images
OVERLAY, CONTACT_SHEET = "overlay.mp4", "contact_sheet.png"
TRANSPARENT: dict[str, Encoding | None] = {"webm": WEBM, "prores": PRORES, "png": None}  # None: images
COLOURS = {"white": "#ffffff", "black": "#000000"}
BLUR = "blur"


@dataclass(frozen=True)
class Output:
    """A video file, or a folder of images, that is made of a video and its probabilities."""

    name: str
    draw: Callable[[np.ndarray, np.ndarray], Any]  # from a frame and its probabilities, to a picture
    encoding: Encoding | None = None  # of the video; None for images
    has_sound: bool = False  # whether the video has the input's
    settings: Any = True  # what tells it from others of this name and the same masks, for JSON


def make_outputs(
    *,
    threshold: float = 0.5,
    save_overlay: bool = True,
    save_probabilities: bool = False,
    cutout: str | None = None,
    background: str | None = None,
    feather: float = 0.0,
) -> list[Output]:
    """Makes the outputs that options ask for; the masks and the contact sheet are always written.

    Args:
      threshold: a pixel is foreground where its probability is above this.
      save_overlay: whether to write a video of the frames with their masks.
      save_probabilities: whether to write 16-bit images, in which 65535 is 1.
      cutout: a key of `TRANSPARENT`, for the object with transparency.
      background: for a video of the object over another background, see `read_background`.
      feather: pixels by which the edge of the cut-outs is softened.

    Raises:
      InputError: an option is unknown or out of range, the feather has nothing to soften, or an image cannot be read.
    """
    if not 0 <= threshold < 1:
        raise InputError(f"--threshold is {threshold}; expected at least 0 and below 1")
    if cutout and cutout not in TRANSPARENT:
        raise InputError(f"--cutout is {cutout!r}; expected one of {', '.join(TRANSPARENT)}")
    if not 0 <= feather <= 100:
        raise InputError(f"--feather is {feather}; expected 0 to 100 pixels")
    if feather and not (cutout or background):
        raise InputError("--feather softens the edge of a cut-out; it needs --cutout or --background")

    def alpha(map_: np.ndarray) -> np.ndarray:
        return alpha_of(map_, threshold, feather)

    outputs = [Output(MASKS, lambda frame, map_: map_ > threshold)]
    if save_probabilities:  # rounded half down: above the middle grey is exactly what is above 0.5
        outputs.append(Output(PROBABILITIES, lambda frame, map_: np.ceil(map_ * 65535.0 - 0.5).astype(np.uint16)))
    if save_overlay:
        outputs.append(Output(OVERLAY, lambda frame, map_: overlay(frame, map_ > threshold), MP4))
    if cutout:
        encoding = TRANSPARENT[cutout]
        name = f"cutout{encoding.suffix}" if encoding else CUTOUT
        outputs.append(Output(name, lambda frame, map_: cut_out(frame, alpha(map_)), encoding, True, feather))
    if background:
        behind, settings = read_background(background)

        def over(frame: np.ndarray, map_: np.ndarray) -> np.ndarray:
            opacity = alpha(map_)
            return lay_over(frame, opacity, behind(frame, opacity))

        outputs.append(Output("cutout.mp4", over, MP4, True, [settings, feather]))
    return outputs


def read_background(text: str) -> tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], str]:
    """Reads what is behind the object: `white`, `black`, `#rrggbb`, `blur` or the name of an image file.

    Returns:
      A function of a frame and its alpha that gives the background, and what tells it from others.

    Raises:
      InputError: it is none of these, or the image cannot be read.
    """
    if text == BLUR:
        return blurred_background, BLUR
    if re.fullmatch("#[0-9a-fA-F]{6}", colour := COLOURS.get(text, text)):
        return lambda frame, alpha: np.array(tuple(bytes.fromhex(colour[1:]))), colour
    path = expanded(text)
    if not is_image(path) or not path.is_file():
        raise InputError(f"--background is {text!r}; expected white, black, '#rrggbb', blur or an image file")
    picture = next(iter(open_video(path)))
    fitted = functools.cache(lambda size: fill(picture, size))
    return lambda frame, alpha: fitted(alpha.shape), digest_of(f"{picture.shape}".encode(), picture.tobytes())


class ResultWriter:
    """Writes the results of one video as its frames come, used in a `with` block.

    The folder receives the `outputs`: images `<name>/<frame>.png` when a frame comes, and when the block ends videos
    and `contact_sheet.png`. A file under one of these names is whole: what is interrupted keeps the images made so far
    and gets no new video or contact sheet. In folders of images, those of frames that the video does not have go.

    `references` are frames that the contact sheet marks.

    Raises:
      InputError: the folder cannot be written to, at once or later (full disk), or the input's sound cannot be read.
    """

    def __init__(
        self, folder: str | Path, video: StoredVideo, outputs: Iterable[Output], references: Collection[int] = ()
    ):
        self._folder, self._video, self._references = writable_folder(folder), video, set(references)
        self._names, images = iter(video.frame_names), {f"{name}.png" for name in video.frame_names}
        self._tiles: dict[str, np.ndarray] = {}
        self._shown = {video.frame_names[index]: index for index in sheet_frames(len(video), self._references)}
        self._outputs: list[tuple[Output, VideoWriter | None]] = []
        with contextlib.ExitStack() as files:  # closes those that are open if another one cannot be made
            for output in outputs:
                path, writer = self._folder / output.name, None
                if output.encoding:
                    sound, aspect = sound_of(video) if output.has_sound else None, video.sample_aspect
                    writer = VideoWriter(path, video.size, video.fps, video.timestamps, output.encoding, sound, aspect)
                    files.enter_context(writer)
                else:
                    for image in writable_folder(path).glob("*.png"):
                        if image.name not in images:
                            image.unlink()
                self._outputs.append((output, writer))
            self._files = files.pop_all()

    def write(self, frame: np.ndarray, probability: np.ndarray) -> None:
        """Writes the results of the next frame, uint8 RGB (H, W, 3), and its probabilities (H, W) in [0, 1]."""
        name = next(self._names)
        for output, writer in self._outputs:
            picture = output.draw(frame, probability)
            if writer:
                writer.write(picture)
            else:
                write_bytes(self._folder / output.name / f"{name}.png", encode_png(picture))
            if output.name == MASKS and name in self._shown:
                self._tiles[name] = tile(frame, picture)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, kind, value, traceback) -> None:
        self._files.__exit__(kind, value, traceback)
        if kind is None:
            title = f"{self._video.name}: {len(self._video)} frames, {len(self._references)} references"
            marked = [self._shown[name] in self._references for name in self._tiles]
            sheet = contact_sheet(list(self._tiles.values()), list(self._tiles), marked, title)
            write_bytes(self._folder / CONTACT_SHEET, encode_png(sheet))


def encode_png(picture: np.ndarray) -> bytes:
    """Encodes a mask (bool), grey levels (uint16), RGB or RGBA."""
    if picture.dtype == bool:
        return encode_mask(picture)
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", picture)[1].tobytes()


def is_complete(folder: Path, video: StoredVideo, outputs: Sequence[Output]) -> bool:
    """Tells whether a folder holds the results of these outputs, with an image for each frame."""
    images = {f"{name}.png" for name in video.frame_names}
    return (folder / CONTACT_SHEET).is_file() and all(
        (folder / output.name).is_file()
        if output.encoding
        else images <= {path.name for path in (folder / output.name).glob("*.png")}
        for output in outputs
    )
