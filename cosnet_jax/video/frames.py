"""Videos as the engine takes them: their length, their frames in order, and a few of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np


class Frames(Protocol):
    """A video. `data.video_io.Video` is one; frames are (H, W, 3) uint8 RGB.

    Attributes:
      size: (height, width) of its frames.
    """

    size: tuple[int, int]

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...

    def read(self, indices: Sequence[int]) -> Iterable[np.ndarray]:
        """The frames of these numbers, in their order."""


class ArrayFrames:
    """Frames in memory as a video: an array (T, H, W, 3), or a list of T frames (H, W, 3)."""

    def __init__(self, frames: np.ndarray | Sequence[np.ndarray]):
        self._frames = frames

    @property
    def size(self) -> tuple[int, int]:
        return self._frames[0].shape[:2]

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._frames)

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        return [self._frames[index] for index in indices]


class SequenceFrames:
    """The frames of a sequence of a dataset, or some of them, as a video."""

    def __init__(self, sequence: Any, count: int = 0):
        """Chooses the frames.

        Args:
          sequence: see `data.sequences.Sequence`.
          count: how many, evenly spaced from the first to the last; 0 or more than there are: all.
        """
        total = len(sequence)
        count = total if count == 0 else min(count, total)
        self._sequence, self.indices = sequence, np.linspace(0, total - 1, count).round().astype(int)

    @property
    def size(self) -> tuple[int, int]:
        return self._sequence.image(0).shape[:2]

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._sequence.image(int(index)) for index in self.indices)

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        return [self._sequence.image(int(self.indices[index])) for index in indices]

    def mask(self, index: int) -> np.ndarray | None:
        """Ground truth (H, W) bool, or None."""
        return self._sequence.mask(int(self.indices[index]))


def pick(frames: Frames, indices: np.ndarray) -> Iterator[np.ndarray]:
    """The frames of ascending numbers, one at a time."""
    if len(indices) == len(frames):
        return iter(frames)
    return (frame for index in indices.tolist() for frame in frames.read([index]))
