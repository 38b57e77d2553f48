"""A sequence: a video, or the images of one set, with masks. Frames are read only when they are asked for."""

from __future__ import annotations

import abc
import dataclasses

import numpy as np

from cosnet_jax.video.video import FrameByFrame, check_index, evenly_spaced_indices


class Sequence(FrameByFrame):
    """A video with masks, or the images of one set of still images (whose sizes can differ) with masks.

    Attributes:
      name: unique among the sequences of a split.
      frame_names: frame names without suffix, in order.
      annotated: indices of the frames that have a mask, ascending.
      soft: whether `target` returns soft masks.
    """

    name: str
    frame_names: tuple[str, ...]
    annotated: tuple[int, ...]
    soft: bool

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first frame."""
        height, width = self._frame(0).shape[:2]
        return height, width

    def __len__(self) -> int:
        return len(self.frame_names)

    @abc.abstractmethod
    def target(self, i: int) -> np.ndarray | None:
        """Reads what a training aims at in frame `i`.

        Returns:
          The mask, bool (H, W); where `soft`, 255 times the probability of foreground, uint8 (H, W); None where the
          frame is not annotated.
        """

    def frame_and_target(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Reads frame `i` and its target; faster than one after the other where both come from one record."""
        return self.read([i])[0], self.target(i)

    def mask(self, i: int) -> np.ndarray | None:
        """Reads the mask of frame `i`: bool (H, W), or None where the frame is not annotated."""
        return _as_mask(self.target(i))

    def frame_and_mask(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Reads frame `i` and its mask."""
        image, target = self.frame_and_target(i)
        return image, _as_mask(target)


def _as_mask(target: np.ndarray | None) -> np.ndarray | None:
    return target if target is None or target.dtype == bool else target > 127


def evenly_spaced(sequence: Sequence, count: int) -> Sequence:
    """Chooses evenly spaced annotated frames of a sequence, the first and the last of them among these.

    Where fewer frames are annotated, evenly spaced ones of the others are chosen too, as references.

    `count` is the number of frames; 0, or more than there are: all.
    """
    if count == 0 or count >= len(sequence):
        return sequence
    others = sorted(set(range(len(sequence))) - set(sequence.annotated))
    chosen: list[int] = []
    for frames in (sequence.annotated, others):
        if frames and len(chosen) < count:
            chosen += [frames[i] for i in evenly_spaced_indices(len(frames), count - len(chosen))]
    chosen.sort()
    names = tuple(sequence.frame_names[i] for i in chosen)
    annotated = tuple(position for position, i in enumerate(chosen) if i in sequence.annotated)
    return Subset(sequence.name, names, annotated, sequence.soft, sequence, tuple(chosen))


@dataclasses.dataclass(frozen=True)
class Subset(Sequence):
    """Some frames, `indices`, of a `whole` sequence."""

    name: str
    frame_names: tuple[str, ...]
    annotated: tuple[int, ...]
    soft: bool
    whole: Sequence
    indices: tuple[int, ...]

    def target(self, i: int) -> np.ndarray | None:
        check_index(i, len(self))
        return self.whole.target(self.indices[i])

    def frame_and_target(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        check_index(i, len(self))
        return self.whole.frame_and_target(self.indices[i])

    def _frame(self, i: int) -> np.ndarray:
        return self.whole.read([self.indices[i]])[0]
