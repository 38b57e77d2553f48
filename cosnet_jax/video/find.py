"""Finds the videos of a folder or a pattern."""

from __future__ import annotations

import glob
from pathlib import Path

from cosnet_jax.errors import InputError
from cosnet_jax.files import natural_key
from cosnet_jax.video.images import is_image

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".gif", ".mpg", ".mpeg", ".wmv", ".flv", ".ts")


def find_videos(path: str | Path) -> list[Path]:
    """Finds the videos that an input stands for.

    Args:
      path: a video file, an image or a folder of frames, which is one video; a folder that holds videos; or a pattern
        such as "clips/*.mp4".

    Returns:
      What `open_video` opens, in natural order.

    Raises:
      InputError: nothing matches the pattern, or the folder holds neither frames nor videos.
    """
    path = Path(path).expanduser()
    if not path.exists() and any(character in str(path) for character in "*?["):
        found = sorted(map(Path, glob.glob(str(path), recursive=True)), key=natural_key)
        if not found:
            raise InputError(f"{path}: nothing matches this pattern")
        return [video for match in found for video in find_videos(match)]
    if not path.is_dir():
        return [path]
    try:
        entries = sorted(path.iterdir(), key=natural_key)
        if any(is_image(entry) for entry in entries):
            return [path]
        videos = [entry for entry in entries if _is_video(entry)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not videos:
        raise InputError(f"{path}: no jpg or png frames in this folder, and no videos")
    return videos


def _is_video(entry: Path) -> bool:
    """Tells whether an entry of a folder is a video file by its name, or a folder of frames."""
    if entry.name.startswith("."):
        return False
    if entry.is_dir():
        return any(map(is_image, entry.iterdir()))
    return entry.suffix.lower() in VIDEO_SUFFIXES
