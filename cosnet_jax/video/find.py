"""Finds the videos of a folder or a pattern."""

from __future__ import annotations

import glob
from pathlib import Path

from cosnet_jax.errors import InputError
from cosnet_jax.files import expanded, natural_key, report_read_errors
from cosnet_jax.video.images import is_image

_SUFFIXES = """
    mp4 m4v mov qt avi mkv webm gif apng mpg mpeg m2v mpv wmv asf flv f4v ts mts m2ts m2t trp vob mod tod 3gp 3g2 ogv
    ogm mxf gxf dv dif divx rm rmvb y4m mjpeg mjpg h264 264 h265 hevc 265 ivf nut wtv insv lrv
"""
VIDEO_SUFFIXES = frozenset("." + suffix for suffix in _SUFFIXES.split())
RECORD = "result.json"  # in a folder of results of `cosnet segment`


def find_videos(path: str | Path) -> list[Path]:
    """Finds the videos that an input stands for.

    Args:
      path: a video file, an image or a folder of frames, which is one video; a folder that holds videos; or a pattern
        such as "clips/*.mp4". Results of `cosnet segment` among them are left out.

    Returns:
      What `open_video` opens, in natural order.

    Raises:
      InputError: no video matches the pattern, or the folder holds neither frames nor videos.
    """
    path = expanded(path)
    with report_read_errors(path):
        if not path.exists() and glob.has_magic(str(path)):
            videos = [file for file in map(Path, glob.glob(str(path), recursive=True)) if _is_video(file)]
            if not videos:
                raise InputError(
                    f"{path}: no video matches this pattern; expected one such as 'clips/*.mp4', in quotes"
                )
            return sorted(videos, key=natural_key)
        if not path.is_dir():
            return [path]
        entries = list(path.iterdir())
        if any(map(is_image, entries)):
            return [path]
        videos = sorted(filter(_is_video, entries), key=natural_key)
    if not videos:
        raise InputError(
            f"{path}: no jpg or png frames in this folder, and no videos; expected files such as 00000.jpg or clip.mp4"
        )
    return videos


def _is_video(entry: Path) -> bool:
    """Tells whether an entry of a folder is a video file by its name, or a folder of frames. Results are none."""
    if entry.name.startswith("."):
        return False
    if entry.is_dir():
        return not (entry / RECORD).exists() and any(map(is_image, entry.iterdir()))
    return entry.suffix.lower() in VIDEO_SUFFIXES
