"""The interface of a video, and videos made of arrays."""

from __future__ import annotations

import abc
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.video.reader import open_video


@runtime_checkable
class Video(Protocol):
    """A video: frames (H, W, 3) uint8 RGB of one size. `open_video` and the datasets return such objects."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames."""

    def __len__(self) -> int:
        """Number of frames."""

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields all frames in order; each iteration starts at the first frame."""

    def read(self, indices: Sequence[int]) -> Iterable[np.ndarray]:
        """Reads some frames.

        Args:
          indices: frame indices in [0, len(self)), in any order; repeats are allowed.

        Returns:
          The frames, in the order of `indices`.

        Raises:
          IndexError: an index is out of range.
        """


class FrameByFrame(abc.ABC):
    """Implements iteration and `read` of a `Video` for classes that read one frame at a time."""

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def _frame(self, i: int) -> np.ndarray:
        """Returns frame `i`, 0 <= i < len(self): uint8 RGB (H, W, 3)."""

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._frame(i) for i in range(len(self)))

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        for i in indices:
            check_index(i, len(self))
        return [self._frame(i) for i in indices]


def check_index(i: int, length: int) -> None:
    """Raises an IndexError unless 0 <= i < length."""
    if not 0 <= i < length:
        raise IndexError(f"no frame {i} in a video of {length} frames")


def evenly_spaced_indices(total: int, count: int) -> list[int]:
    """Chooses evenly spaced indices in [0, total), the first and the last among them; a single one is the first.

    Args:
      total: number of items to choose from.
      count: number of indices; 0, or more than there are items: all.

    Returns:
      The indices, ascending.
    """
    return np.linspace(0, total - 1, min(count or total, total)).round().astype(int).tolist()


class ArrayVideo(FrameByFrame):
    """A video in memory.

    Args:
      frames: an array (T, H, W, 3) or a list of T frames (H, W, 3), uint8 RGB.
    """

    def __init__(self, frames: np.ndarray | Sequence[np.ndarray]):
        self._frames = frames

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self._frames[0].shape[:2])

    def __len__(self) -> int:
        return len(self._frames)

    def _frame(self, i: int) -> np.ndarray:
        return self._frames[i]


def as_video(value: Any) -> Video:
    """Makes a video of what a user gives.

    Args:
      value: the path of a video file, an image or a folder of frames (str or Path, see `open_video`); an array
        (T, H, W, 3) or a list of frames; or a video, which is returned unchanged.

    Returns:
      The video.

    Raises:
      InputError: the path cannot be opened as a video, or `value` is something else.
    """
    if isinstance(value, (str, os.PathLike)):
        return open_video(Path(value))
    if isinstance(value, Video):
        return value
    if hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, (bytes, dict)):
        if len(value) and len(getattr(value[0], "shape", ())) != 3:
            raise InputError(f"frame 0 is {_describe(value[0])}; expected (H, W, 3) uint8")
        return ArrayVideo(value)
    raise InputError(f"a video is a path, an array (T, H, W, 3) or a list of frames, not {type(value).__name__}")


def _describe(frame: Any) -> str:
    return f"{frame.shape} {frame.dtype}" if isinstance(frame, np.ndarray) else f"of type {type(frame).__name__}"
