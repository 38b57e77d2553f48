"""What `open_video` returns: a video in files, with names and times of its frames."""

from __future__ import annotations

import abc
import dataclasses
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.files import is_plain_name

DEFAULT_FPS = Fraction(24)  # for folders of images and files that declare no rate: the frame rate of DAVIS
SLOWEST, FASTEST = Fraction(1, 1000), Fraction(1000)  # frames per second; no encoder takes any rate


@dataclasses.dataclass(frozen=True)
class StoredVideo(abc.ABC):
    """A video that `open_video` opened: a `Video` (see video.py) with a name, frame names and times.

    Frames are (H, W, 3) uint8 RGB, upright (rotation metadata is applied). Grey is repeated over the channels, 16 bits
    are scaled to 8, and transparent pixels are composited over black. Each iteration starts at the first frame, and its
    memory does not grow with the length. Files are opened for each reading, so the object is cheap to pickle.

    Attributes:
      path: the video file or folder.
      frame_names: one name per frame, for the files made from it: the image's stem, or the frame's index padded with
        zeros.
      size: (height, width) of every frame.
      fps: frames per second, from 1/1000 to 1000; the mean if the rate varies.
      timestamps: seconds from the first frame to each frame if `fps` does not tell, for the rate varies or is beyond
        these bounds; else None.
    """

    path: Path
    frame_names: tuple[str, ...]
    size: tuple[int, int]
    fps: Fraction
    timestamps: tuple[float, ...] | None

    sample_aspect = Fraction(1)  # width of a pixel divided by its height
    has_times = True  # the file says when its frames are shown

    def __enter__(self) -> StoredVideo:
        return self

    def __exit__(self, kind, value, traceback) -> None:
        return None  # files are open only while they are read

    @property
    def name(self) -> str:
        """See `video_name`."""
        return video_name(self.path)

    def __len__(self) -> int:
        return len(self.frame_names)

    @property
    @abc.abstractmethod
    def files(self) -> tuple[Path, ...]:
        """The video file, or the images in order."""

    @abc.abstractmethod
    def __iter__(self) -> Iterator[np.ndarray]: ...

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Reads some frames, such as the references.

        Args:
          indices: frame indices in [0, len(self)), in any order; repeats are allowed.

        Returns:
          uint8 RGB (len(indices), H, W, 3), in the order of `indices`.

        Raises:
          IndexError: an index is out of range.
          InputError: a frame cannot be decoded.
        """
        for index in indices:
            if not 0 <= index < len(self):
                raise IndexError(f"{self.path}: no frame {index} in a video of {len(self)} frames")
        found = dict(self._read_sorted(sorted(set(indices))))
        return np.stack([found[index] for index in indices]) if found else np.empty((0, *self.size, 3), np.uint8)

    def at_rate(self, fps: Fraction) -> StoredVideo:
        """Returns the video with another frame rate, from 1/1000 to 1000.

        Raises:
          InputError: the file says when its frames are shown.
        """
        if self.has_times:
            raise InputError(f"{self.path}: it says itself when its frames are shown; a frame rate cannot be given")
        return dataclasses.replace(self, fps=fps, timestamps=None)

    @abc.abstractmethod
    def _read_sorted(self, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yields index and frame for each of the ascending indices, in any order."""


def video_name(path: Path) -> str:
    """The folder's name, or the file's name without its suffix, unless that would be ".." or "." ("...mp4")."""
    path = Path(os.path.abspath(path))  # "." has a name too
    return path.name if path.is_dir() or not is_plain_name(path.stem) else path.stem


def check_size(file: Path | str, size: tuple[int, int], expected: tuple[int, int], reference: str) -> None:
    """Raises an InputError unless `size` is `expected`, the size of `reference`."""
    if size != expected:
        (height, width), (first_height, first_width) = size, expected
        raise InputError(
            f"{file}: {width} x {height} pixels, but {reference} has {first_width} x {first_height}; expected frames "
            "of one size"
        )


def frame_rate(ticks: list[int], time_base: Fraction, declared: Fraction) -> tuple[Fraction, bool]:
    """Returns the frame rate, and whether it varies.

    It varies if a frame is off its regular time by more than a quarter of a frame's duration. Smaller deviations come
    from containers that round times to milliseconds (Matroska) or hundredths of a second (GIF). The declared rate is
    taken if by it even the last frame is less than half a frame's duration off: sound stays with the frames.
    """
    if len(ticks) < 2:
        return declared, False
    last, end = len(ticks) - 1, ticks[-1]
    # Multiplied by 4 * last, all are whole numbers: fractions of a million frames take a minute.
    varies = any(abs(tick * last - number * end) * 4 > end for number, tick in enumerate(ticks))
    duration = end * time_base / last
    if not varies and abs(declared * duration - 1) < 0.01 and abs(declared * end * time_base - last) < 0.5:
        return declared, False
    return (1 / duration).limit_denominator(1001), varies
