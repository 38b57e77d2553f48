"""Writes videos that browsers play and editors take."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.files import report_write_errors, temporary_name
from cosnet_jax.video.encodings import MP4, Encoding
from cosnet_jax.video.sound import Sound, SoundCopier

CLOCK = Fraction(1, 90000)  # seconds; the time base of MPEG, fine enough for any frame rate
BT709 = 1  # code of this colour space, its primaries and its transfer function in H.264
LONGEST_GAP = 20_000  # seconds from frame to frame; mp4 has 31 bits for the ticks between
WRITE_ERRORS = (av.FFmpegError, OSError)
LIMITED_RANGE = 1  # black is 16 and white 235


class VideoWriter:
    """Writes a video file. Use it in a `with` block; the file appears when the block ends. An mp4 has its index first.

    If an exception (Ctrl-C included) ends the block, no file appears. H.264 with yuv420p has no odd sizes: an odd
    height or width is made even by repeating the last row or column.

    Args:
      path: the file; its folder must exist.
      size: (height, width) of the frames.
      fps: frames per second, from 1/1000 to 1000.
      timestamps: seconds from the first frame to each frame if the rate varies; ascending, at most `LONGEST_GAP` from
        one to the next. WebM rounds them to milliseconds.
      encoding: the kind of file; an H.264 mp4 if not given.
      sound: what is heard with the frames; nothing if not given.
      sample_aspect: width of a pixel divided by its height.

    Raises:
      InputError: the file cannot be written, at once (read-only folder) or later (full disk), the sound cannot be
        read, frames lie too far apart, or they are larger than the encoder takes.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        fps: Fraction | float,
        timestamps: Sequence[float] | None = None,
        encoding: Encoding = MP4,
        sound: Sound | None = None,
        sample_aspect: Fraction = Fraction(1),
    ):
        self._path, self._temporary = Path(path), temporary_name(Path(path))
        self._size, self._encoding, self._sample_aspect = tuple(size), encoding, sample_aspect
        _check_size(self._path, size, encoding)
        _check_gaps(self._path, timestamps or ())
        rate = Fraction(fps).limit_denominator(1001)
        self._clock = 1 / rate if timestamps is None else CLOCK
        # Frame k is shown from tick k to tick k + 1.
        self._ticks = None if timestamps is None else _ticks([*timestamps, timestamps[-1] + float(1 / rate)])
        self._written = self._muxed = 0
        self._sound = SoundCopier(sound, encoding) if sound else None
        # The stack closes what is open if an error comes.
        with contextlib.ExitStack() as files, report_write_errors(self._path, WRITE_ERRORS):
            if self._sound:
                files.callback(self._sound.close)
            self._temporary.touch()  # fail at once: FFmpeg opens the file only at the first frame
            files.callback(self._temporary.unlink, missing_ok=True)
            options = {"movflags": "+faststart"} if encoding.container in ("mp4", "mov") else {}
            url = str(self._temporary.resolve())
            self._container = av.open(url, "w", format=encoding.container, options=options)
            files.callback(self._close)
            self._add_tracks(rate)
            self._files = files.pop_all()

    def _add_tracks(self, rate: Fraction) -> None:
        encoding = self._encoding
        self._stream = self._container.add_stream(encoding.codec, rate=rate, options=dict(encoding.options))
        context = self._stream.codec_context
        context.height, context.width = (length + (length % 2 if encoding.even else 0) for length in self._size)
        context.pix_fmt, context.time_base = encoding.pixel_format, self._clock
        # Without these, players guess the colour space from the size of the picture, each in its own way.
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        context.sample_aspect_ratio = self._sample_aspect
        if self._sound:
            self._sound.add_track(self._container)

    def _close(self) -> None:
        with contextlib.suppress(av.FFmpegError, OSError):
            self._container.close()

    def write(self, image: np.ndarray) -> None:
        """Adds a frame.

        Args:
          image: uint8 RGB (H, W, 3), or RGBA (H, W, 4) where the encoding has alpha, of the size given to the
            constructor. Colours are not multiplied by alpha.

        Raises:
          InputError: the frame has another size or type, there are more frames than timestamps, or the disk is full.
        """
        shape = *self._size, 4 if self._encoding.has_alpha else 3
        if image.shape != shape or image.dtype != np.uint8:
            raise InputError(f"{self._path}: a frame must be uint8 {shape}, not {image.dtype} {image.shape}")
        if self._ticks is not None and self._written == len(self._ticks) - 1:
            raise InputError(f"{self._path}: more frames than the {self._written} timestamps")
        if self._encoding.even:
            image = cv2.copyMakeBorder(image, 0, shape[0] % 2, 0, shape[1] % 2, cv2.BORDER_REPLICATE)
        frame = av.VideoFrame.from_ndarray(image, format="rgba" if self._encoding.has_alpha else "rgb24")
        # With several threads FFmpeg converts some frames to deep formats differently each time.
        frame = frame.reformat(
            format=self._encoding.pixel_format, dst_colorspace="ITU709", dst_color_range="MPEG", threads=1
        )
        frame.pts = self._written if self._ticks is None else self._ticks[self._written]
        frame.time_base = self._clock
        with report_write_errors(self._path, WRITE_ERRORS):
            self._encode(frame)
        self._written += 1

    def _encode(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            if self._ticks is not None:
                packet.duration = self._ticks[self._muxed + 1] - self._ticks[self._muxed]
            if self._sound:  # players read on from one place: what is heard lies beside what is seen
                self._sound.write_until(float(packet.pts * packet.time_base))
            self._container.mux(packet)
            self._muxed += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind, value, traceback) -> None:
        with self._files:
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        if not self._written:
            raise InputError(f"{self._path}: a video needs a frame")
        with report_write_errors(self._path, WRITE_ERRORS):
            self._encode(None)
            if self._sound:  # pictures and sound end together
                end = self._written if self._ticks is None else self._ticks[self._written]
                self._sound.write_until(float(end * self._clock))
            self._container.close()
            self._temporary.replace(self._path)


def _check_size(path: Path, size: tuple[int, int], encoding: Encoding) -> None:
    if max(size) > encoding.longest_side:
        raise InputError(
            f"{path}: frames of {size[1]} x {size[0]} pixels; this kind of file takes at most "
            f"{encoding.longest_side:,} a side, so scale the video down"
        )


def _check_gaps(path: Path, timestamps: Sequence[float]) -> None:
    longest = max((later - earlier for earlier, later in itertools.pairwise(timestamps)), default=0)
    if longest > LONGEST_GAP:
        raise InputError(f"{path}: frames lie up to {longest:,.0f} s apart; expected at most {LONGEST_GAP:,} s")


def _ticks(seconds: Sequence[float]) -> list[int]:
    """Converts ascending times to ticks of `CLOCK`, each at least one tick after the one before."""
    ticks: list[int] = []
    for time in seconds:
        ticks.append(max(round(time / CLOCK), ticks[-1] + 1) if ticks else round(time / CLOCK))
    return ticks
