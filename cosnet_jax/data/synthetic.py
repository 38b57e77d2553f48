"""Procedural videos whose primary object is only recognisable by recurring, and still images of one object.

Every frame shows the primary object and one or two distractors. All objects have the same distribution of looks, sizes,
positions, motions and depths, and behave alike at any single time. The primary object is in every frame, while a
distractor stays for a part of the video and is followed by another one. So a single frame does not tell which object is
the primary one; together with another frame of the video it does.

A frame depends only on the split, the video's number and the frame's index, so frames can be drawn in any order.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import numpy as np

from cosnet_jax.data.scenes import draw_scene, render
from cosnet_jax.errors import InputError
from cosnet_jax.video.video import FrameByFrame, check_index

SPLITS = ("train", "val")
STILLS = len(SPLITS)  # the random stream of the still images


class _DrawnSequence(FrameByFrame):
    """A sequence whose frames are all drawn and annotated; subclasses draw them in `frame_and_mask`."""

    frame_names: tuple[str, ...]

    @property
    def annotated(self) -> tuple[int, ...]:
        return tuple(range(len(self.frame_names)))

    def __len__(self) -> int:
        return len(self.frame_names)

    @abc.abstractmethod
    def frame_and_mask(self, i: int) -> tuple[np.ndarray, np.ndarray]: ...

    def mask(self, i: int) -> np.ndarray:
        return self.frame_and_mask(i)[1]

    def _frame(self, i: int) -> np.ndarray:
        return self.frame_and_mask(i)[0]


@dataclasses.dataclass(frozen=True)
class SyntheticVideo(_DrawnSequence):
    """One procedural video; see `cosnet_jax.data.sequences.Sequence`.

    Attributes:
      stream: random stream: the split's number.
      number: the video's number within the split.
      size: (height, width) of the frames.
    """

    name: str
    frame_names: tuple[str, ...]
    stream: int
    number: int
    size: tuple[int, int]

    def frame_and_mask(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        check_index(i, len(self))
        scene = draw_scene(self.stream, self.number, len(self))
        image, owner = render(scene, i, self.size)
        return image, owner == 0


@dataclasses.dataclass(frozen=True)
class SyntheticStills(_DrawnSequence):
    """Still images of one object each; see `cosnet_jax.data.sequences.Sequence`."""

    name: str
    frame_names: tuple[str, ...]
    size: tuple[int, int]

    def frame_and_mask(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        check_index(i, len(self))
        scene = draw_scene(STILLS, i, 1)
        image, owner = render(scene._replace(shown=((0,),)), 0, self.size)
        return image, owner == 0


def open_videos(split: str, config: Any) -> list[SyntheticVideo]:
    """Makes the videos of a split.

    Args:
      split: "train" or "val"; the two have no video in common.
      config: `config.data.synthetic`: num_videos, num_val_videos, num_frames, size (height, width).

    Returns:
      One sequence per video.

    Raises:
      InputError: the split is unknown.
    """
    if split not in SPLITS:
        raise InputError(f"synthetic has no split {split!r}: expected one of {', '.join(SPLITS)}")
    count = {"train": config.num_videos, "val": config.num_val_videos}[split]
    names = tuple(f"{i:05d}" for i in range(config.num_frames))
    stream = SPLITS.index(split)
    return [SyntheticVideo(f"{split}{n:04d}", names, stream, n, tuple(config.size)) for n in range(count)]


def open_stills(config: Any) -> SyntheticStills:
    """Makes the set of still images.

    Args:
      config: `config.data.synthetic`: num_stills, size (height, width).

    Returns:
      One sequence that holds all images.
    """
    return SyntheticStills("synthetic", tuple(f"{i:05d}" for i in range(config.num_stills)), tuple(config.size))
