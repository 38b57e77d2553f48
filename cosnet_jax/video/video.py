"""Videos as inference takes them (the data branch replaces this file)."""

from pathlib import Path

from cosnet_jax.video.frames import ArrayFrames as ArrayVideo
from cosnet_jax.video.frames import Frames as Video

__all__ = ["ArrayVideo", "Video", "as_video"]


def as_video(value):
    from cosnet_jax.video.reader import open_video

    if isinstance(value, (str, Path)):
        return open_video(value)
    return value if hasattr(value, "read") else ArrayVideo(value)
