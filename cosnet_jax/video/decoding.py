"""Decodes video files with PyAV: scans a file for its frames, yields them in order, converts them to upright RGB."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import Colorspace

from cosnet_jax.errors import InputError
from cosnet_jax.video.hdr import HDR_TRANSFERS, to_bt709
from cosnet_jax.video.images import over_black

# Codecs with exactly one visible frame per packet. Other codecs can hide frames or put two into one packet: their
# frames are counted by decoding.
ONE_FRAME_PER_PACKET = frozenset({"h264", "hevc", "vp9", "av1", "mjpeg", "ffv1", "prores", "qtrle", "rawvideo", "gif"})
# Codecs that draw each frame over the previous one. Decoding must start at the first frame, whatever the packets say.
INCREMENTAL = frozenset({"gif", "qtrle"})
UNTIMED = frozenset({"avi"})  # formats without presentation times: FFmpeg guesses them wrong for reordered frames
PLAYLISTS = frozenset({"hls", "concat", "dash", "imf"})  # formats that name other files, which FFmpeg would read
TEXT_ART = frozenset({"ansi", "bintext", "xbin", "idf"})  # FFmpeg reads plain text files as pictures of text
MAX_VIDEO_PIXELS = 8192 * 4320  # of a frame; a decoder holds up to 16 frames that others refer to
FRAME_THREAD_PIXELS = 2**24  # of the largest frames that are decoded in parallel; each thread holds further frames
LIMITS = {"max_pixels": str(MAX_VIDEO_PIXELS)}  # of FFmpeg's decoders
MAX_FRAMES = 1_000_000  # of one video; memory grows with their number, for a file of 2 bytes a frame too
UNTAGGED = 2  # no colour matrix is declared
HD_LINES = 720  # untagged video of at least these is BT.709, below BT.601
FIELDS = frozenset({"mpegts", "mpeg", "h264", "hevc"})  # formats that may put one field into a packet
GIF_TRAILER = b";"

# Before PyAV 19, metadata that is not UTF-8 raises an error unless this option is set. PyAV 19 never raises and does
# not know the option.
METADATA_OPTIONS = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


class Index(NamedTuple):
    """The frames of a video file, as `scan` found them.

    Attributes:
      num_frames: number of frames.
      size: (height, width) of the first frame, upright.
      fps: frame rate that the file declares, in frames per second; None if it declares none.
      time_base: unit of `pts` and `keys`, in seconds.
      pts: presentation time of each frame, ascending; empty if the file does not tell.
      keys: presentation times of the frames at which decoding can start, ascending; empty if it can only start at the
        first frame.
      sample_aspect: width of a pixel divided by its height, upright.
    """

    num_frames: int
    size: tuple[int, int]
    fps: Fraction | None
    time_base: Fraction
    pts: tuple[int, ...]
    keys: tuple[int, ...]
    sample_aspect: Fraction


def open_container(path: Path) -> av.container.InputContainer:
    """Opens a video file as FFmpeg does; its errors are PyAV's."""
    # FFmpeg cannot mistake an absolute path for a protocol ("concat:...").
    return av.open(str(path.resolve()), options=LIMITS, **METADATA_OPTIONS)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Opens a video file and finds its main video stream.

    Args:
      path: the file.

    Yields:
      The container and the stream. Both are closed afterwards.

    Raises:
      InputError: FFmpeg cannot read the file, or the file has no video.
    """
    try:
        container = open_container(path)
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: not a readable video ({error.strerror}); expected one that a player shows"
        ) from error
    with container:
        if container.format.name in PLAYLISTS:
            raise InputError(f"{path}: a playlist of other files; expected a video file")
        stream = container.streams.best("video")
        is_video = stream is not None and stream.codec_context is not None and stream.codec_context.name not in TEXT_ART
        if not is_video or stream.disposition & av.stream.Disposition.attached_pic:
            raise InputError(f"{path}: there is no video in this file; expected one that a player shows")
        stream.codec_context.options = LIMITS
        pixels = stream.width * stream.height
        if pixels > MAX_VIDEO_PIXELS:
            raise InputError(
                f"{path}: {stream.width} x {stream.height} pixels; videos of up to {MAX_VIDEO_PIXELS:,} pixels are read"
            )
        stream.thread_type = "AUTO" if pixels <= FRAME_THREAD_PIXELS else "SLICE"
        yield container, stream


def scan(path: Path, most_frames: int = MAX_FRAMES) -> Index:
    """Counts the frames of a video file exactly and collects their times.

    The file is read once. Reading packets is hundreds of times faster than decoding, so frames are only decoded up to
    the first one, which gives the size. All frames are decoded where packets do not tell their number: in codecs that
    hide frames or put two into one packet, and in streams that were cut, whose first frames may refer to missing ones.

    Args:
      path: the file.
      most_frames: reading stops at more than these.

    Returns:
      The index.

    Raises:
      InputError: the file is damaged, truncated, empty or not a video, or has more than `most_frames`.
    """
    with opened(path) as (container, stream):
        found = _read_packets(path, container, stream, most_frames)
        if found.is_corrupt or found.end < _least_end(container) or _lacks_trailer(path, container):
            raise InputError(f"{path}: the file is truncated after {len(found.pts)} frames; copy it again")
        codec, time_base, fps = stream.codec_context.name, stream.time_base, stream.average_rate or stream.guessed_rate
        timed = container.format.name not in UNTIMED and None not in found.pts and None not in found.keys
    pts = found.decoded_pts if found.decode_all else found.pts
    starts_cut = timed and bool(pts) and found.first_pts is not None and min(pts) < found.first_pts
    if not found.decode_all and starts_cut:
        # Frames that precede the first key frame: they may refer to frames that were cut off.
        with opened(path) as (container, stream):
            pts = [frame.pts for frame in decoded(path, container, stream)]
    if found.size is None or not pts:
        raise InputError(f"{path}: no frame can be decoded; expected a video that a player shows")
    order = sorted(set(pts)) if timed and None not in pts else []
    if len(order) != len(pts):  # two frames have the same time
        order = []
    keys = sorted(found.keys) if order and codec not in INCREMENTAL else []
    return Index(len(pts), found.size, fps, time_base, tuple(order), tuple(keys), found.sample_aspect)


@dataclasses.dataclass
class _Packets:
    """What `scan` collects from the packets of a file; `pts` are presentation times, None where a packet has none."""

    decode_all: bool  # the frames are counted by decoding
    size: tuple[int, int] | None = None  # of the first decoded frame
    pts: list[int | None] = dataclasses.field(default_factory=list)  # of the packets with a visible frame
    keys: list[int | None] = dataclasses.field(default_factory=list)  # of the key frames
    decoded_pts: list[int | None] = dataclasses.field(default_factory=list)  # of the decoded frames
    first_pts: int | None = None  # of the first packet
    sample_aspect: Fraction = Fraction(1)  # width of a pixel / its height, upright
    end: float = 0.0  # seconds at which the last packet of any stream ends
    is_corrupt: bool = False  # the last packet is


def _read_packets(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, most_frames: int
) -> _Packets:
    """Reads all packets of a file, and decodes those of `stream` up to the first frame, or all where that is needed."""
    may_split = bool(FIELDS & set(container.format.name.split(",")))
    found = _Packets(decode_all=may_split or stream.codec_context.name not in ONE_FRAME_PER_PACKET)
    aspect, decode = stream.sample_aspect_ratio or Fraction(1), _decoder(stream)
    is_first = True
    try:
        for packet in container.demux():
            if packet.pts is not None:
                found.end = max(found.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != stream.index:
                continue
            if packet.size:  # the empty packet at the end only makes the decoder return its last frames
                if is_first:
                    found.first_pts = packet.pts
                    found.decode_all |= not packet.is_keyframe
                    is_first = False
                found.is_corrupt = packet.is_corrupt
                if packet.is_keyframe:
                    found.keys.append(packet.pts)
                if not packet.is_discard:
                    found.pts.append(packet.pts)
            if found.decode_all or found.size is None:
                _decode_packet(path, decode, packet, found, aspect)
            if max(len(found.pts), len(found.decoded_pts)) > most_frames:
                raise InputError(f"{path}: more than {most_frames:,} frames; split the video into parts")
    except (av.FFmpegError, OSError) as error:
        raise _damaged(path, len(found.pts), error) from error
    return found


def _decode_packet(path: Path, decode: Callable, packet: av.Packet, found: _Packets, aspect: Fraction) -> None:
    try:
        for frame in decode(packet):
            if found.size is None:
                found.size = to_rgb(frame).shape[:2]
                found.sample_aspect = 1 / aspect if round(frame.rotation / 90) % 2 else aspect
                found.decode_all |= frame.interlaced_frame  # each field may be a packet
            found.decoded_pts.append(frame.pts)
    except (av.FFmpegError, OSError) as error:
        raise _damaged(path, len(found.decoded_pts), error) from error


def _least_end(container: av.container.InputContainer) -> float:
    """Returns the time in seconds that some stream of a complete file reaches; 3% and 0.1 s are tolerated."""
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
    """Decodes the frames from the container's current position.

    Args:
      path: the file, for error messages.
      container: from `opened`.
      stream: from `opened`.
      from_key: whether to yield nothing if the first packet is not a key frame, which happens after an inexact seek.

    Yields:
      The frames in presentation order.

    Raises:
      InputError: a packet cannot be decoded.
    """
    count, decode = 0, _decoder(stream)
    try:
        for packet in container.demux(stream):
            if from_key and not packet.is_keyframe:
                return
            from_key = False
            for frame in decode(packet):
                yield frame
                count += 1
    except (av.FFmpegError, OSError) as error:
        raise _damaged(path, count, error) from error


def _decoder(stream: av.VideoStream) -> Callable[[av.Packet], list[av.VideoFrame]]:
    """Returns what decodes the packets of a stream from here on."""
    if stream.codec_context.name != "vp9" or stream.metadata.get("alpha_mode") != "1":
        return lambda packet: packet.decode()
    context = av.CodecContext.create("libvpx-vp9", "r")  # FFmpeg's own decoder leaves the alpha out
    return lambda packet: context.decode(packet if packet.size else None)


def _damaged(path: Path, count: int, error: Any) -> InputError:
    return InputError(f"{path}: damaged or truncated after {count} frames ({error.strerror}); copy it again")


def to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """Converts a decoded frame to an upright image.

    Args:
      frame: a frame in any pixel format; transparent pixels are composited over black.

    Returns:
      uint8 RGB (H, W, 3).
    """
    if frame.format.name == "yuva420p":  # FFmpeg's conversion to rgba spoils the last columns of some widths
        rows = np.frombuffer(frame.planes[3], np.uint8).reshape(frame.height, -1)[:, : frame.width]
        image = over_black(np.dstack([frame.to_ndarray(format="rgb24", threads=1), rows]))
    elif frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components):
        image = over_black(frame.to_ndarray(format="rgba", threads=1))
    elif frame.color_trc in HDR_TRANSFERS:
        image = to_bt709(frame.to_ndarray(format="rgb48le", threads=1), frame.color_trc)
    else:
        # With several threads FFmpeg converts some frames differently each time. It takes untagged frames for BT.601.
        untagged_hd = frame.colorspace == UNTAGGED and max(frame.height, frame.width * 9 // 16) >= HD_LINES
        matrix = Colorspace.ITU709 if untagged_hd and not frame.format.is_rgb else None
        image = frame.to_ndarray(format="rgb24", src_colorspace=matrix, threads=1)
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
