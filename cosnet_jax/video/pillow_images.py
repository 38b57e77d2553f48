"""Images that Pillow reads best: animated WebP and PNG, which are videos, and photographs in HEIC and AVIF."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from cosnet_jax.errors import InputError
from cosnet_jax.files import report_read_errors
from cosnet_jax.video.images import MAX_PIXELS, over_black
from cosnet_jax.video.stored import DEFAULT_FPS, FASTEST, SLOWEST, StoredVideo, frame_rate

with contextlib.suppress(ImportError):
    import pillow_heif  # type: ignore[import-not-found, import-untyped, unused-ignore]

    pillow_heif.register_heif_opener()

READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def read_photo(file: Path) -> np.ndarray:
    """Reads a HEIC or AVIF photograph whole and upright: uint8 RGB (H, W, 3).

    Raises:
      InputError: it is damaged, or Pillow does not read this format here.
    """
    with report_read_errors(file), file.open("rb"):
        pass
    try:
        with Image.open(file) as image:
            _check_pixels(file, image)
            return over_black(np.asarray(ImageOps.exif_transpose(image).convert("RGBA")))
    except READ_ERRORS as error:
        raise InputError(f"{file}: cannot be read here; pip install pillow-heif, or convert it to jpg") from error


@dataclasses.dataclass(frozen=True)
class AnimatedImage(StoredVideo):
    """An animated WebP or PNG as a video."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (image for _, image in self._read_sorted(list(range(len(self)))))

    def _read_sorted(self, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        try:
            with Image.open(self.path) as image:
                for index in indices:
                    image.seek(index)
                    yield index, over_black(np.asarray(image.convert("RGBA")))
        except READ_ERRORS as error:
            raise InputError(f"{self.path}: a frame cannot be decoded, the file is damaged") from error


def open_animation(path: Path, most_frames: int) -> AnimatedImage | None:
    """Opens an animated WebP or PNG. Returns None if the file is none; raises an InputError if it has too many frames
    or is damaged."""
    try:
        with Image.open(path, formats=("WEBP", "PNG")) as image:
            count = getattr(image, "n_frames", 1)
            if count < 2:
                return None
            _check_pixels(path, image)
            if count > most_frames:
                raise InputError(f"{path}: more than {most_frames:,} frames; split the video into parts")
            ends: list[int] = []  # milliseconds
            for index in range(count):
                image.seek(index)
                image.load()
                ends.append((ends[-1] if ends else 0) + round(image.info.get("duration") or 0))
            size = image.height, image.width
    except READ_ERRORS:
        return None  # the reader of single images says what is wrong
    names = tuple(f"{number:05d}" for number in range(count))
    starts, unit = [0, *ends[:-1]], Fraction(1, 1000)
    declared = count / (ends[-1] * unit) if ends[-1] else DEFAULT_FPS
    rate, varies = frame_rate(starts, unit, declared) if starts[-1] else (declared, False)
    times = tuple(start / 1000 for start in starts) if varies else None
    return AnimatedImage(path, names, size, min(max(rate, SLOWEST), FASTEST), times)


def _check_pixels(path: Path, image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f"{path}: {image.width} x {image.height} pixels; images of up to {MAX_PIXELS:,} are read")
