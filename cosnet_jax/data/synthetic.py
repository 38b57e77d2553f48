"""Procedural videos whose primary object is only recognisable by recurring, and still images of one object.

Every frame shows the primary object and one or two distractors. All objects have the same distribution of looks, sizes,
positions, motions and depths. The primary object is in every frame; a distractor stays for a part of the video, then
another one follows. So one frame does not tell which object is the primary one; two frames do.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from cosnet_jax.data.scenes import draw_scene, render
from cosnet_jax.data.sequence import Sequence
from cosnet_jax.errors import InputError

SPLITS = ("train", "val")  # each has a random stream of its own
STILLS = len(SPLITS)  # the random stream of the still images


@dataclasses.dataclass(frozen=True)
class Drawn:
    """One procedural video, or a set of still images of one object each; a `Source` of sequences."""

    stream: int  # number of the random stream
    video: int | None  # number within the stream; None: each frame is a still image
    length: int  # in frames
    size: tuple[int, int]  # (height, width) of the frames

    def read(self, place: int, image: bool, target: bool) -> tuple[Any, Any]:
        """Renders a frame and its mask, see `Source`."""
        if self.video is None:
            scene, place = draw_scene(self.stream, place, 1)._replace(shown=((0,),)), 0
        else:
            scene = draw_scene(self.stream, self.video, self.length)
        frame, owner = render(scene, place, self.size)
        return frame, owner == 0

    def sequence(self, name: str) -> Sequence:
        """Returns all frames as a sequence."""
        frames = tuple(range(self.length))
        return Sequence(name, tuple(f"{i:05d}" for i in frames), frames, False, self, frames)


def open_videos(split: str, config: Any) -> list[Sequence]:
    """Makes the videos of split "train" or "val", which have none in common. `config` is a `SyntheticConfig`."""
    if split not in SPLITS:
        raise InputError(f"synthetic has no split {split!r}: expected one of {', '.join(SPLITS)}")
    count = {"train": config.num_videos, "val": config.num_val_videos}[split]
    stream, size = SPLITS.index(split), tuple(config.size)
    return [Drawn(stream, n, config.num_frames, size).sequence(f"{split}{n:04d}") for n in range(count)]


def open_stills(config: Any) -> Sequence:
    """Makes the set of still images, as one sequence. `config` is a `SyntheticConfig`."""
    return Drawn(STILLS, None, config.num_stills, tuple(config.size)).sequence("synthetic")
