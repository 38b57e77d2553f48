"""Looks at an upload in a process of its own, with bounds on memory and time, and scales it down where it is large."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
from pathlib import Path

import cv2

from cosnet_jax.errors import InputError
from cosnet_jax.video.reader import open_video
from cosnet_jax.video.sound import sound_of
from cosnet_jax.video.writer import VideoWriter

MAX_RATE = 60  # frames per second of the longest clip
MEMORY = 8 * 2**30  # bytes of address space; decoders use a small part of it
PATIENCE = 10  # seconds to decode a second of video


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a visitor may upload; raises an `InputError` for a limit out of range."""

    seconds: float = 30.0  # longest duration, of at most `MAX_RATE` frames a second
    side: int = 1920  # pixels of the longer side; a larger video is scaled down to it

    def __post_init__(self):
        if not 0 < self.seconds <= 86_400:
            raise InputError(f"--max-seconds is {self.seconds:g}; expected more than 0, at most 86400")
        if self.side < 32:
            raise InputError(f"--max-side is {self.side}; expected 32 pixels or more")


def check_upload(path: Path, limits: Limits) -> Path:
    """Decodes all of a video. Where it is larger than allowed, a smaller copy takes its place.

    Returns:
      The file to use.

    Raises:
      InputError: it is no video, or too long.
    """
    video = open_video(path, max(1, int(limits.seconds * MAX_RATE)))
    if (seconds := len(video) / video.fps) > limits.seconds:
        raise InputError(f"{float(seconds):.1f} s long; this page takes {limits.seconds:g}. Upload a part of it.")
    scale = limits.side / max(video.size)
    if scale >= 1:
        for _ in video:
            pass
        return path
    height, width = (max(1, round(length * scale)) for length in video.size)
    smaller = path.with_name(f"{path.stem}-{width}x{height}.mp4")
    with VideoWriter(smaller, (height, width), video.fps, video.timestamps, sound=sound_of(video)) as writer:
        for frame in video:
            writer.write(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))
    path.unlink()
    return smaller


def check_in_child(path: Path, limits: Limits) -> Path:
    """Calls `check_upload` in a new process, which ends after some time and, where the system can bound it, memory.

    Raises:
      InputError: as `check_upload`; or it takes too long, or too much memory.
    """
    seconds = PATIENCE * (limits.seconds + 1)
    with multiprocessing.get_context("spawn").Pool(1, bound_memory, [MEMORY]) as pool:
        try:
            return pool.apply_async(check_upload, [path, limits]).get(seconds)
        except multiprocessing.TimeoutError:
            raise InputError(f"not decoded within {seconds:g} s; upload a shorter or smaller one") from None
        except MemoryError:
            raise InputError("cannot be decoded with the memory that there is; upload a smaller one") from None


def bound_memory(size: int) -> None:
    """Bounds this process's address space, in bytes; not on Windows, nor where a lower bound is in force."""
    with contextlib.suppress(ImportError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))
