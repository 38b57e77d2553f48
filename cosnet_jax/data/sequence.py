"""A sequence: a video, or the images of one set, with masks. Frames are read only when they are asked for."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np

from cosnet_jax.video.video import FrameByFrame, check_index, evenly_spaced_indices


class Source(Protocol):
    """What the frames of a sequence are read from. It holds only names, so it is cheap to send to another process."""

    def read(self, place: int, image: bool, target: bool) -> tuple[Any, Any]:
        """Reads a frame, uint8 RGB (H, W, 3), and its mask, bool or uint8 up to 255; None where not asked for."""


@dataclasses.dataclass(frozen=True)
class Sequence(FrameByFrame):
    """A video with masks, or the images of one set of still images (whose sizes can differ) with masks."""

    name: str  # unique among the sequences of a split
    frame_names: tuple[str, ...]  # without suffix, in order
    annotated: tuple[int, ...]  # indices of the frames that have a mask, ascending
    soft: bool  # whether targets are soft masks
    source: Source
    places: tuple[int, ...]  # of the frames in the source

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first frame."""
        height, width = self._frame(0).shape[:2]
        return height, width

    def __len__(self) -> int:
        return len(self.frame_names)

    def frame_and_target(self, i: int, image: bool = True, target: bool = True) -> tuple[Any, Any]:
        """Reads frame `i`, and what a training aims at in it; None for what is not asked for.

        Returns:
          uint8 RGB (H, W, 3), and the mask, bool (H, W); where `soft`, 255 times the probability of foreground, uint8
          (H, W); None where the frame is not annotated.
        """
        check_index(i, len(self))
        target = target and (len(self.annotated) == len(self) or i in self.annotated)
        frame, found = self.source.read(self.places[i], image, target)
        return frame, None if not target else found if self.soft else _as_mask(found)

    def frame_and_mask(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Reads frame `i` and its mask, bool (H, W), or None where the frame is not annotated."""
        image, target = self.frame_and_target(i)
        return image, None if target is None else _as_mask(target)

    def mask(self, i: int) -> np.ndarray | None:
        """Reads the mask of frame `i` alone."""
        target = self.frame_and_target(i, image=False)[1]
        return None if target is None else _as_mask(target)

    def _frame(self, i: int) -> np.ndarray:
        return self.frame_and_target(i, target=False)[0]


def _as_mask(target: np.ndarray) -> np.ndarray:
    return target if target.dtype == bool else target > 127


def evenly_spaced(sequence: Sequence, count: int) -> Sequence:
    """Chooses `count` evenly spaced annotated frames of a sequence, the first and the last of them among these.

    Where fewer are annotated, evenly spaced ones of the others are chosen too, as references. 0, or more than there
    are: all frames.
    """
    if count == 0 or count >= len(sequence):
        return sequence
    others = sorted(set(range(len(sequence))) - set(sequence.annotated))
    chosen: list[int] = []
    for frames in (sequence.annotated, others):
        if frames and len(chosen) < count:
            chosen += [frames[i] for i in evenly_spaced_indices(len(frames), count - len(chosen))]
    chosen.sort()
    return dataclasses.replace(
        sequence,
        frame_names=tuple(sequence.frame_names[i] for i in chosen),
        annotated=tuple(position for position, i in enumerate(chosen) if i in sequence.annotated),
        places=tuple(sequence.places[i] for i in chosen),
    )
