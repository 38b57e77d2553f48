"""Opens a video file, a folder of images or one image as a `StoredVideo`."""

from __future__ import annotations

import abc
import bisect
import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.files import expanded, is_plain_name, is_special, natural_key, report_read_errors
from cosnet_jax.video.decoding import MAX_FRAMES, Index, decoded, opened, over_black, scan, to_rgb
from cosnet_jax.video.image_header import JPEG_START, MAX_PIXELS, image_size
from cosnet_jax.video.images import decode, is_image, is_truncated

HEADER_BYTES = 2**16  # most images tell their size before
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

    @abc.abstractmethod
    def _read_sorted(self, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yields index and frame for each of the ascending indices, in any order."""


def video_name(path: Path) -> str:
    """The folder's name, or the file's name without its suffix, unless that would be ".." or "." ("...mp4")."""
    path = Path(os.path.abspath(path))  # "." has a name too
    return path.name if path.is_dir() or not is_plain_name(path.stem) else path.stem


def open_video(path: str | Path, most_frames: int = MAX_FRAMES) -> StoredVideo:
    """Opens a video file (whatever FFmpeg decodes), a folder of jpg or png frames, or one image.

    The number of frames is exact, see `scan`.

    Args:
      path: the file or folder. The frames of a folder are in natural order (frame2 before frame10).
      most_frames: most frames of a video file; reading stops at more.

    Returns:
      The video.

    Raises:
      InputError: the path does not exist, or it is empty, damaged, truncated or not a video, or has more than
        `most_frames`, or the frames of a folder differ in size, or two of them have the same name without suffix.
    """
    path = expanded(path)
    with report_read_errors(path):
        if path.is_dir():
            return _open_images(path, [file for file in path.iterdir() if is_image(file)])
        if not path.is_file():
            raise InputError(f"{path}: no such video file or folder of frames; check its path")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty; copy or download it again")
    return _open_images(path, [path]) if is_image(path) else _open_file(path, most_frames)


# Folders of images


@dataclasses.dataclass(frozen=True)
class ImageFolder(StoredVideo):
    """The images of a folder as a video."""

    images: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        return self.images

    def __iter__(self) -> Iterator[np.ndarray]:
        return (image for _, image in self._read_sorted(list(range(len(self)))))

    def _read_sorted(self, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for index in indices:
            image = _read_image(self.images[index])
            _check_size(self.images[index], image.shape[:2], self.size, "the first frame")
            yield index, image


def _open_images(path: Path, files: list[Path]) -> StoredVideo:
    if not files:
        raise InputError(f"{path}: no jpg or png frames in this folder; expected files such as 00000.jpg")
    files = sorted(files, key=natural_key)
    by_name: dict[str, Path] = {}
    for file in files:
        if is_special(file):
            raise InputError(f"{file}: not an image file; remove it")
        if file.stem in by_name:
            raise InputError(
                f"{path}: {by_name[file.stem].name} and {file.name} would be the same frame; remove or rename one"
            )
        by_name[file.stem] = file
    first = _stored_size(files[0])
    for file in files[1:]:
        _check_size(file, _stored_size(file), first, files[0].name)
    size = _read_image(files[0]).shape[:2]
    return ImageFolder(path, tuple(by_name), size, DEFAULT_FPS, None, tuple(files))


def _stored_size(file: Path) -> tuple[int, int]:
    """Reads (height, width) from the header of an image."""
    with report_read_errors(file), open(file, "rb") as stream:
        header = stream.read(HEADER_BYTES)
        size = image_size(header) or image_size(header + stream.read())
    if size is None:
        raise InputError(f"{file}: not a readable image; convert it to jpg or png, or remove it")
    height, width = size
    if height * width > MAX_PIXELS:
        raise InputError(f"{file}: {width} x {height} pixels; images of up to {MAX_PIXELS:,} pixels are read")
    return size


def _read_image(file: Path) -> np.ndarray:
    with report_read_errors(file):
        data = file.read_bytes()
    if is_truncated(data):
        raise InputError(f"{file}: the image is truncated; copy it again, or remove it")
    # IMREAD_UNCHANGED ignores the EXIF orientation, IMREAD_COLOR applies it. Only JPEG files have one.
    image = decode(data, cv2.IMREAD_COLOR if data.startswith(JPEG_START) else cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError(f"{file}: not a readable image; convert it to jpg or png, or remove it")
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=1 / 257)  # 65535 becomes 255, all others the nearest level
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[2] == 4:
        return over_black(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _check_size(file: Path | str, size: tuple[int, int], expected: tuple[int, int], reference: str) -> None:
    """Raises an InputError unless `size` is `expected`, the size of `reference`."""
    if size != expected:
        (height, width), (first_height, first_width) = size, expected
        raise InputError(
            f"{file}: {width} x {height} pixels, but {reference} has {first_width} x {first_height}; expected frames "
            "of one size"
        )


# Video files


@dataclasses.dataclass(frozen=True)
class VideoFile(StoredVideo):
    """A file that FFmpeg decodes. `index` is what `scan` found in it."""

    index: Index

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def __iter__(self) -> Iterator[np.ndarray]:
        count = 0
        with opened(self.path) as (container, stream):
            for count, frame in enumerate(decoded(self.path, container, stream), 1):
                if count <= len(self):
                    yield self._rgb(count - 1, frame)
        if count != len(self):
            raise InputError(f"{self.path}: {count} frames can be decoded, not {len(self)}: the file is damaged")

    def _read_sorted(self, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        missing = set(indices)
        for find in (self._seek, self._search) if self.index.keys else (self._search,):
            if not missing:
                return
            for index, frame in find(sorted(missing)):
                missing.remove(index)
                yield index, self._rgb(index, frame)
        if missing:
            raise InputError(f"{self.path}: frame {min(missing)} cannot be decoded, the file is damaged")

    def _seek(self, indices: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yields the frames that it finds from the key frame before each. In MPEG streams it can miss some."""
        keys, pts = self.index.keys, self.index.pts
        groups = itertools.groupby(indices, lambda index: keys[max(bisect.bisect(keys, pts[index]) - 1, 0)])
        with opened(self.path) as (container, stream):
            for key, group in groups:
                wanted = {pts[index]: index for index in group}
                container.seek(key, stream=stream)
                for frame in decoded(self.path, container, stream, from_key=True):
                    if frame.pts in wanted:
                        yield wanted.pop(frame.pts), frame
                    if not wanted or frame.pts is None or frame.pts > max(wanted):
                        break

    def _search(self, indices: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yields the frames by decoding from the first frame to the last one wanted."""
        wanted, last = set(indices), indices[-1]
        with opened(self.path) as (container, stream):
            for index, frame in enumerate(itertools.islice(decoded(self.path, container, stream), last + 1)):
                if index in wanted:
                    yield index, frame

    def _rgb(self, index: int, frame: av.VideoFrame) -> np.ndarray:
        image = to_rgb(frame)
        _check_size(f"{self.path}: frame {index}", image.shape[:2], self.size, "the first frame")
        return image


def _open_file(path: Path, most_frames: int) -> StoredVideo:
    index = scan(path, most_frames)
    ticks = [pts - index.pts[0] for pts in index.pts]
    rate, varies = _frame_rate(ticks, index.time_base, index.fps or DEFAULT_FPS)
    fps = min(max(rate, SLOWEST), FASTEST)
    timestamps = None
    if ticks and (varies or fps != rate):
        unit = index.time_base
        timestamps = tuple(tick * unit.numerator / unit.denominator for tick in ticks)  # each the nearest float
    digits = max(5, len(str(index.num_frames - 1)))
    names = tuple(f"{number:0{digits}d}" for number in range(index.num_frames))
    return VideoFile(path, names, index.size, fps, timestamps, index)


def _frame_rate(ticks: list[int], time_base: Fraction, declared: Fraction) -> tuple[Fraction, bool]:
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
