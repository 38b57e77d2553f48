"""Opens a video file, a folder of images or one image as a `StoredVideo`."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.files import expanded, is_special, natural_key, report_read_errors
from cosnet_jax.video.decoding import MAX_FRAMES, Index, decoded, opened, scan, to_rgb
from cosnet_jax.video.images import MAX_PIXELS, PHOTO_SUFFIXES, decode_image, image_size, is_image, is_truncated
from cosnet_jax.video.pillow_images import open_animation, read_photo
from cosnet_jax.video.stored import DEFAULT_FPS, FASTEST, SLOWEST, StoredVideo, check_size, frame_rate


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
    if not is_image(path):
        return _open_file(path, most_frames)
    return open_animation(path, most_frames) or _open_images(path, [path])


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
            check_size(self.images[index], image.shape[:2], self.size, "the first frame")
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
        check_size(file, _stored_size(file), first, files[0].name)
    size = _read_image(files[0]).shape[:2]
    return ImageFolder(path, tuple(by_name), size, DEFAULT_FPS, None, tuple(files))


def _stored_size(file: Path) -> tuple[int, int]:
    """Reads (height, width) from the header of an image."""
    if file.suffix.lower() in PHOTO_SUFFIXES:
        return read_photo(file).shape[:2]
    with report_read_errors(file), open(file, "rb"):
        size = image_size(file)
    if size is None:
        raise InputError(f"{file}: not a readable image; convert it to jpg or png, or remove it")
    height, width = size
    if height * width > MAX_PIXELS:
        raise InputError(f"{file}: {width} x {height} pixels; images of up to {MAX_PIXELS:,} pixels are read")
    return size


def _read_image(file: Path) -> np.ndarray:
    if file.suffix.lower() in PHOTO_SUFFIXES:
        return read_photo(file)
    with report_read_errors(file):
        data = file.read_bytes()
    if is_truncated(data):
        raise InputError(f"{file}: the image is truncated; copy it again, or remove it")
    image = decode_image(data)
    if image is None:
        raise InputError(f"{file}: not a readable image; convert it to jpg or png, or remove it")
    return image


# Video files


@dataclasses.dataclass(frozen=True)
class VideoFile(StoredVideo):
    """A file that FFmpeg decodes. `index` is what `scan` found in it."""

    index: Index

    @property
    def sample_aspect(self) -> Fraction:  # type: ignore[override]
        return self.index.sample_aspect

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
        check_size(f"{self.path}: frame {index}", image.shape[:2], self.size, "the first frame")
        return image


def _open_file(path: Path, most_frames: int) -> StoredVideo:
    index = scan(path, most_frames)
    ticks = [pts - index.pts[0] for pts in index.pts]
    rate, varies = frame_rate(ticks, index.time_base, index.fps or DEFAULT_FPS)
    fps = min(max(rate, SLOWEST), FASTEST)
    timestamps = None
    if ticks and (varies or fps != rate):
        unit = index.time_base
        timestamps = tuple(tick * unit.numerator / unit.denominator for tick in ticks)  # each the nearest float
    digits = max(5, len(str(index.num_frames - 1)))
    names = tuple(f"{number:0{digits}d}" for number in range(index.num_frames))
    return VideoFile(path, names, index.size, fps, timestamps, index)
