"""Videos as the engine takes them: a length and frames by index."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Frames(Protocol):
    """A video: its length and its frames, (H, W, 3) uint8 RGB, by index. An array (T, H, W, 3) is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


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

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._sequence.image(int(self.indices[index]))

    def mask(self, index: int) -> np.ndarray | None:
        """Ground truth (H, W) bool, or None."""
        return self._sequence.mask(int(self.indices[index]))
