"""Procedural videos whose primary object is only recognisable by recurring, and still images of one object.

Every frame shows the primary object and one or two distractors. All objects have the same distribution of looks, sizes,
positions, motions and depths. The primary object is in every frame; a distractor stays for a part of the video, then
another one follows. So one frame does not tell which object is the primary one; two frames do.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from cosnet_jax.data.scenes import draw_scene, render
from cosnet_jax.data.sequence import Sequence
from cosnet_jax.errors import InputError
from cosnet_jax.video.video import check_index

SPLITS = ("train", "val")
STILLS = len(SPLITS)  # the random stream of the still images


@dataclasses.dataclass(frozen=True)
class SyntheticVideo(Sequence):
    """One procedural video, or a set of still images of one object each.

    Attributes:
      stream: random stream: the split's number, or `STILLS`.
      number: the video's number within the split; None: each frame is a still image.
      drawn_size: (height, width) of the frames.
    """

    name: str
    frame_names: tuple[str, ...]
    stream: int
    number: int | None
    drawn_size: tuple[int, int]
    soft: bool = False

    @property
    def size(self) -> tuple[int, int]:
        return self.drawn_size

    @property
    def annotated(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(range(len(self)))

    def frame_and_target(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        check_index(i, len(self))
        if self.number is None:
            image, owner = render(draw_scene(self.stream, i, 1)._replace(shown=((0,),)), 0, self.drawn_size)
        else:
            image, owner = render(draw_scene(self.stream, self.number, len(self)), i, self.drawn_size)
        return image, owner == 0

    def target(self, i: int) -> np.ndarray:
        return self.frame_and_target(i)[1]

    def _frame(self, i: int) -> np.ndarray:
        return self.frame_and_target(i)[0]


def open_videos(split: str, config: Any) -> list[Sequence]:
    """Makes the videos of split "train" or "val", which have none in common. `config` is a `SyntheticConfig`."""
    if split not in SPLITS:
        raise InputError(f"synthetic has no split {split!r}: expected one of {', '.join(SPLITS)}")
    count = {"train": config.num_videos, "val": config.num_val_videos}[split]
    names, stream = _names(config.num_frames), SPLITS.index(split)
    return [SyntheticVideo(f"{split}{n:04d}", names, stream, n, tuple(config.size)) for n in range(count)]


def open_stills(config: Any) -> Sequence:
    """Makes the set of still images, as one sequence. `config` is a `SyntheticConfig`."""
    return SyntheticVideo("synthetic", _names(config.num_stills), STILLS, None, tuple(config.size))


def _names(count: int) -> tuple[str, ...]:
    return tuple(f"{i:05d}" for i in range(count))
