"""placeholder until the data branch is merged"""

from pathlib import Path

from cosnet_jax.video.frames import ArrayFrames as ArrayVideo


def as_video(value):
    from cosnet_jax.video.reader import open_video

    if isinstance(value, (str, Path)):
        return open_video(value)
    return value if hasattr(value, "read") else ArrayVideo(value)
