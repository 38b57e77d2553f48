"""Decodes video files with PyAV: the index of a file's frames, frames in order, frames as upright RGB."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from cosnet_jax.errors import InputError

# Codecs with one shown frame a packet. Others may hide frames or pack two into one: they are decoded to be counted.
FRAME_A_PACKET = frozenset({"h264", "hevc", "vp9", "av1", "mjpeg", "ffv1", "prores", "qtrle", "rawvideo", "gif"})
DRAWN_OVER = frozenset({"gif", "qtrle"})  # a frame is drawn over the ones before it, whatever its packet says
UNTIMED = frozenset({"avi"})  # keeps no times of display: FFmpeg's are wrong where frames are reordered
TEXT_ART = frozenset({"ansi", "bintext", "xbin", "idf"})  # FFmpeg reads plain text files as pictures of text
GIF_TRAILER = b";"


class Index(NamedTuple):
    """Where the frames of a video file are; times are in units of `time_base` seconds."""

    count: int
    time_base: Fraction
    fps: Fraction | None  # as the file declares it
    pts: tuple[int, ...]  # of each frame in order of display; empty where the file does not tell
    keys: tuple[int, ...]  # of the frames that decoding can start at; empty where it can only start at the first


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Opens a video file and finds its main video stream.

    Args:
      path: the file.

    Yields:
      The container and the stream, closed afterwards.

    Raises:
      InputError: FFmpeg does not know the file as a video.
    """
    try:
        # An absolute path cannot be taken for a protocol ("concat:...").
        container = av.open(str(path.resolve()), metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: not a readable video ({error.strerror})") from error
    with container:
        stream = container.streams.best("video")
        is_video = stream is not None and stream.codec_context is not None and stream.codec_context.name not in TEXT_ART
        if not is_video or stream.disposition & av.stream.Disposition.attached_pic:
            raise InputError(f"{path}: there is no video in this file")
        stream.thread_type = "AUTO"
        yield container, stream


def scan(path: Path) -> Index:
    """Counts the frames of a video file exactly and notes their times.

    Packets are read, which is hundreds of times faster than decoding; frames are decoded only where packets do not
    tell: codecs that hide or pack frames, and streams cut so that their first frames may lack what they refer to.

    Args:
      path: the file.

    Returns:
      The index.

    Raises:
      InputError: the file is damaged, truncated or no video.
    """
    pts, keys, end, last = [], [], 0.0, None
    whole = False  # whether decoding can start at the first packet
    with opened(path) as (container, stream):
        try:
            for packet in container.demux():
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream_index != stream.index or not packet.size:
                    continue
                if last is None:
                    whole, first_pts = packet.is_keyframe, packet.pts
                last = packet
                if packet.is_keyframe:
                    keys.append(packet.pts)
                if not packet.is_discard:
                    pts.append(packet.pts)
        except (av.FFmpegError, OSError) as error:
            raise _damaged(path, len(pts), error) from error
        if (last is not None and last.is_corrupt) or end < _least_end(container) or _lacks_trailer(path, container):
            raise InputError(f"{path}: the file is truncated after {len(pts)} frames")
        metadata = stream.time_base, stream.average_rate or stream.guessed_rate
        codec = stream.codec_context.name
        timed = container.format.name not in UNTIMED and None not in pts and None not in keys
    if codec not in FRAME_A_PACKET or not whole or (timed and min(pts, default=first_pts) < first_pts):
        with opened(path) as (container, stream):
            pts = [frame.pts for frame in decoded(path, container, stream)]
        timed = timed and None not in pts
    order = sorted(set(pts)) if timed else []
    if len(order) != len(pts):  # two frames claim one time
        order = []
    return Index(len(pts), *metadata, tuple(order), tuple(sorted(keys)) if order and codec not in DRAWN_OVER else ())


def _least_end(container: av.container.InputContainer) -> float:
    """The time that some stream must reach, with 3% and a tenth of a second to spare, for a file to be whole."""
    declares_duration = {"matroska", "mov"} & set(container.format.name.split(","))
    return 0.97 * (container.duration or 0) / av.time_base - 0.1 if declares_duration else 0.0


def _lacks_trailer(path: Path, container: av.container.InputContainer) -> bool:
    if container.format.name != "gif":
        return False
    with open(path, "rb") as file:
        file.seek(-min(path.stat().st_size, 64), 2)
        return not file.read().rstrip(b"\0").endswith(GIF_TRAILER)


def decoded(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, from_key: bool = False
) -> Iterator[av.VideoFrame]:
    """Decodes the frames from where the container stands.

    Args:
      path: the file, for messages.
      container: from `opened`.
      stream: from `opened`.
      from_key: yield nothing where the first packet does not start a picture of its own (after a missed seek).

    Yields:
      The frames in order of display.

    Raises:
      InputError: a packet cannot be decoded.
    """
    count = 0
    try:
        for packet in container.demux(stream):
            if from_key and not packet.is_keyframe:
                return
            from_key = False
            for frame in packet.decode():
                yield frame
                count += 1
    except (av.FFmpegError, OSError) as error:
        raise _damaged(path, count, error) from error


def _damaged(path: Path, count: int, error: Exception) -> InputError:
    return InputError(f"{path}: damaged or truncated after {count} frames ({error.strerror})")


def to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """Converts a decoded frame to an upright picture.

    Args:
      frame: in any pixel format; what is transparent is composited over black.

    Returns:
      uint8 RGB (H, W, 3).
    """
    if frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components):
        image = over_black(frame.to_ndarray(format="rgba", threads=1))
    else:
        image = frame.to_ndarray(format="rgb24", threads=1)  # more convert some frames differently each time
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))


def over_black(image: np.ndarray) -> np.ndarray:
    """Composites uint8 RGBA (H, W, 4) over black into RGB (H, W, 3)."""
    alpha = image[..., 3:].astype(np.uint16)
    return ((image[..., :3] * alpha + 127) // 255).astype(np.uint8)
