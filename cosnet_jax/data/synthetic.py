"""Procedural videos whose main object is told from others only by its recurring, and still images of one object.

Every frame shows the primary object and one or two distractors. All objects are drawn from one distribution of looks,
sizes, positions, motions and depths, and behave alike at any single time; the primary is there in every frame, while a
distractor stays for a part of the video and is followed by another one. A single frame therefore does not tell which
object is the primary one: another frame of the video does.

Everything follows from the split, the video's number and the frame's number, so any frame can be drawn at any time.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from cosnet_jax.data.scenes import draw_scene, render
from cosnet_jax.errors import InputError

SPLITS = ("train", "val")
STILLS = len(SPLITS)  # the stream of random numbers that the still images draw from


class _Drawn:
    """What drawn sequences share: `read` gives image and mask of a frame, and every frame has a mask."""

    @property
    def annotated(self) -> tuple[int, ...]:
        return tuple(range(len(self.frames)))

    def __len__(self) -> int:
        return len(self.frames)

    def image(self, i: int) -> np.ndarray:
        return self.read(i)[0]

    def mask(self, i: int) -> np.ndarray:
        return self.read(i)[1]


@dataclasses.dataclass(frozen=True)
class SyntheticVideo(_Drawn):
    """One procedural video; see `cosnet_jax.data.sequences.Sequence`.

    Attributes:
      stream: which stream of random numbers: the split's number.
      number: of the video within the split.
      size: (height, width) of the frames.
    """

    name: str
    frames: tuple[str, ...]
    stream: int
    number: int
    size: tuple[int, int]

    def read(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        _check_index(self, i)
        scene = draw_scene(self.stream, self.number, len(self.frames))
        image, owner = render(scene, i, self.size)
        return image, owner == 0


@dataclasses.dataclass(frozen=True)
class SyntheticStills(_Drawn):
    """Still images of one object each; see `cosnet_jax.data.sequences.Sequence`."""

    name: str
    frames: tuple[str, ...]
    size: tuple[int, int]

    def read(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        _check_index(self, i)
        scene = draw_scene(STILLS, i, 1)
        image, owner = render(scene._replace(shown=((0,),)), 0, self.size)
        return image, owner == 0


def open_videos(split: str, config: Any) -> list[SyntheticVideo]:
    """The videos of a split.

    Args:
      split: "train" or "val"; no video is in both.
      config: `config.data.synthetic`: num_videos, num_val_videos, num_frames, size (height, width).

    Returns:
      One sequence for each video.

    Raises:
      InputError: for another split and for settings that leave nothing to draw.
    """
    if split not in SPLITS:
        raise InputError(f"synthetic has no split {split!r}: expected one of {', '.join(SPLITS)}")
    count = {"train": config.num_videos, "val": config.num_val_videos}[split]
    _check_settings(config)
    frames = tuple(f"{i:05d}" for i in range(config.num_frames))
    stream = SPLITS.index(split)
    return [SyntheticVideo(f"{split}{n:04d}", frames, stream, n, tuple(config.size)) for n in range(count)]


def open_stills(config: Any) -> SyntheticStills:
    """The set of still images.

    Args:
      config: `config.data.synthetic`: num_stills, size (height, width).

    Returns:
      One sequence that holds all images.

    Raises:
      InputError: for settings that leave nothing to draw.
    """
    _check_settings(config)
    return SyntheticStills("synthetic", tuple(f"{i:05d}" for i in range(config.num_stills)), tuple(config.size))


def _check_settings(config: Any) -> None:
    for key in ("num_videos", "num_val_videos", "num_frames", "num_stills"):
        if config[key] < 1:
            raise InputError(f"config.data.synthetic.{key} is {config[key]}: expected at least 1")
    if min(config.size) < 16:
        raise InputError(f"config.data.synthetic.size is {tuple(config.size)}: expected at least (16, 16)")


def _check_index(sequence: SyntheticVideo | SyntheticStills, i: int) -> None:
    if not 0 <= i < len(sequence):
        raise IndexError(f"sequence {sequence.name!r} has {len(sequence)} frames, not {i + 1}")
