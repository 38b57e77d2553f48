"""Carries the sound of a video file over to a video that is made from its frames."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av

from cosnet_jax.errors import InputError
from cosnet_jax.video.decoding import open_container
from cosnet_jax.video.encodings import Encoding
from cosnet_jax.video.reader import StoredVideo, VideoFile

RATE = 48_000  # samples per second of sound that is encoded anew
LEAD_IN = Fraction(1, 10)  # seconds of sound kept before the first frame: decoders of AAC need the packet before


class Sound(NamedTuple):
    """The sound of a video file.

    Attributes:
      path: the file.
      start: seconds in the file at which its first frame is shown.
    """

    path: Path
    start: Fraction


def sound_of(video: StoredVideo) -> Sound | None:
    """Finds the sound of a video.

    Args:
      video: from `open_video`.

    Returns:
      The sound, or None: images have none, and a file may have none that can be decoded.

    Raises:
      InputError: the file cannot be read.
    """
    if not isinstance(video, VideoFile):
        return None
    index = video.index
    with _report_read_errors(video.path), open_container(video.path) as container:
        if _track(container) is None:
            return None
    return Sound(video.path, index.pts[0] * index.time_base if index.pts else Fraction(0))


def _track(container: av.container.InputContainer) -> av.AudioStream | None:
    """Returns the first sound track whose codec is known."""
    return next((track for track in container.streams.audio if track.codec_context is not None), None)


class SoundCopier:
    """Adds a sound track to a file that is written, and fills it piece by piece, beside the frames.

    Packets are copied where players expect their codec in such a file; else the sound is decoded and encoded, in mono
    or stereo. Sound before the first frame is left out, and so are packets that cannot be decoded.

    Args:
      sound: where the sound is.
      encoding: the kind of the file that is written.

    Raises:
      InputError: the file of the sound cannot be read, at once or later.
    """

    def __init__(self, sound: Sound, encoding: Encoding):
        self._sound, self._encoding = sound, encoding
        with _report_read_errors(sound.path):
            self._input = open_container(sound.path)
        self._waiting: deque[av.Packet] = deque()

    def add_track(self, output: av.container.OutputContainer) -> None:
        """Adds the track to a file before its first packet."""
        self._output, source = output, _track(self._input)
        context = source.codec_context
        if context.codec.canonical_name in self._encoding.copied_sound:
            self._packets = self._copied(source, output.add_stream_from_template(source))
        else:
            layout = "mono" if context.layout.nb_channels == 1 else "stereo"
            target = output.add_stream(self._encoding.sound_codec, rate=RATE, layout=layout)
            self._packets = self._encoded(source, target, layout)

    def write_until(self, seconds: float) -> None:
        """Writes the packets up to a time, in seconds from the first frame."""
        while packet := self._take():
            if packet.dts * packet.time_base > seconds:
                self._waiting.append(packet)
                return
            self._output.mux(packet)

    def close(self) -> None:
        """Closes the file of the sound."""
        self._input.close()

    def _take(self) -> av.Packet | None:
        if self._waiting:
            return self._waiting.popleft()
        with _report_read_errors(self._sound.path):
            return next(self._packets, None)

    def _from_start(self, source: av.AudioStream) -> Iterator[av.Packet]:
        """Yields the packets that are heard from the first frame on; their times count from there."""
        last = None
        for packet in self._input.demux(source):
            if not packet.size or packet.dts is None or (last is not None and packet.dts <= last):
                continue
            last = packet.dts
            offset = round(self._sound.start / packet.time_base)
            packet.dts -= offset
            packet.pts = packet.dts if packet.pts is None else packet.pts - offset
            if (packet.pts + (packet.duration or 0)) * packet.time_base > -LEAD_IN:
                yield packet

    def _copied(self, source: av.AudioStream, target: av.AudioStream) -> Iterator[av.Packet]:
        for packet in self._from_start(source):
            packet.stream = target
            yield packet

    def _encoded(self, source: av.AudioStream, target: av.AudioStream, layout: str) -> Iterator[av.Packet]:
        for frame in _resampled(self._decoded(source), target.codec_context.format, layout):
            yield from target.encode(frame)
        yield from target.encode()

    def _decoded(self, source: av.AudioStream) -> Iterator[av.AudioFrame]:
        for packet in self._from_start(source):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                if frame.pts is not None and frame.pts * frame.time_base + Fraction(frame.samples, frame.rate) > 0:
                    yield frame


def _resampled(frames: Iterable[av.AudioFrame], sample_format: av.AudioFormat, layout: str) -> Iterator[av.AudioFrame]:
    """Brings frames of sound to one kind. In broadcasts the channels change from one programme to the next."""
    resampler, kind = None, None
    for frame in frames:
        if kind != (frame.format.name, frame.layout.name, frame.rate):
            if resampler:
                yield from resampler.resample(None)
            kind = frame.format.name, frame.layout.name, frame.rate
            resampler = av.AudioResampler(sample_format, layout, RATE)
        yield from resampler.resample(frame)
    if resampler:
        yield from resampler.resample(None)


@contextlib.contextmanager
def _report_read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: its sound cannot be read ({error.strerror})") from error
