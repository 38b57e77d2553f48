"""`cosnet live`: a camera or a stream to masks, overlays or cut-outs while it runs."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence
from fractions import Fraction
from io import RawIOBase
from typing import Any

import av
import numpy as np

from cosnet_jax.commands.arguments import add_network_arguments
from cosnet_jax.errors import InputError
from cosnet_jax.files import report_write_errors
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.visualization.cutouts import alpha_of, cut_out
from cosnet_jax.visualization.overlays import overlay

EXAMPLE = "cosnet live 0 --output live.mkv --show overlay"
CAMERAS = {"linux": ("/dev/video{}", "v4l2"), "darwin": ("{}", "avfoundation"), "win32": ("video={}", "dshow")}
# What is shown: pixels in a pipe, codec and pixels of a file (FFmpeg's names), and how it is drawn from frame and map.
SHOWN: dict[str, tuple[str, str, str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "masks": ("gray", "libx264", "yuv420p", lambda frame, map_: np.where(map_ > 0.5, 255, 0).astype(np.uint8)),
    "overlay": ("rgb24", "libx264", "yuv420p", lambda frame, map_: overlay(frame, map_ > 0.5)),
    "rgba": ("rgba", "ffv1", "bgra", lambda frame, map_: cut_out(frame, alpha_of(map_))),
}
PATIENCE = 5.0  # seconds without new bytes after which a growing file has ended
ERRORS = (av.FFmpegError, OSError)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a camera's number or device, a growing file, a URL, or - for a pipe")
    add("--output", required=True, metavar="FILE", help="a video such as live.mkv, or - for raw frames in NUT")
    add("--show", choices=SHOWN, default="overlay", help="what is written (overlay); rgba has transparency")
    add("--raw", nargs=2, type=int, metavar=("W", "H"), help="the pipe holds raw frames, rgb24, of this size")
    add("--fps", type=int, help="frames per second that the output declares (the source's, or 25)")
    add_network_arguments(parser, "--size", "--num-references", "--smooth")


def run(arguments: argparse.Namespace) -> int:
    """Segments until the source ends or Ctrl-C; what was written is a whole file in both cases."""
    names = ("size", "num_references", "temporal_smoothing")
    settings = {name: getattr(arguments, name) for name in names}
    online, stop = Segmenter.from_pretrained(arguments.checkpoint, **settings).online(), Stop()
    count, start, before = 0, time.monotonic(), signal.signal(signal.SIGINT, stop)
    try:
        with contextlib.ExitStack() as files:
            for frame, rate in frames_of(arguments.source, arguments.raw, stop):
                probability = online.push(frame)
                if not count:
                    output = LiveWriter(arguments.output, arguments.show, frame.shape[:2], arguments.fps or rate)
                    files.enter_context(output)
                output.write(frame, probability)
                count += 1
                print(f"\r{count} frames, {count / (time.monotonic() - start):.1f} a second", end="", file=sys.stderr)
                if stop.is_asked:
                    break
    finally:
        signal.signal(signal.SIGINT, before)
        print(file=sys.stderr)
    if not count:
        raise InputError(f"{arguments.source}: no frame came; expected a camera, a growing file, or - for a pipe")
    return 0


class Stop:
    """Handles Ctrl-C: notes it, and ends a read that waits. FFmpeg swallows a KeyboardInterrupt in what it calls."""

    is_asked = is_reading = False

    def __call__(self, *_: Any) -> None:
        self.is_asked = True
        if self.is_reading:
            raise KeyboardInterrupt


def frames_of(source: str, raw: Sequence[int] | None, stop: Stop) -> Generator[tuple[np.ndarray, Fraction]]:
    """Reads a camera, a pipe ("-"), a URL, or a file that may still grow.

    Args:
      source: its name.
      raw: (width, height) of raw frames in a pipe; None where FFmpeg decodes.
      stop: may end it.

    Yields:
      The frames, (H, W, 3) uint8 RGB, with their number per second.

    Raises:
      InputError: it cannot be opened or decoded.
    """
    opened: Any = source
    kind, options = None, dict[str, str]()
    with contextlib.ExitStack() as files:
        try:
            if source.isdigit() or source.startswith("/dev/video"):
                device, kind = CAMERAS.get(sys.platform, CAMERAS["linux"])
                opened = device.format(source) if source.isdigit() else source
            elif source == "-":
                opened = Input(files.enter_context(open(0, "rb", 0, closefd=False)), stop, 0)
            elif "://" not in source:
                opened = Input(files.enter_context(open(source, "rb", 0)), stop, PATIENCE)
            if raw:
                kind, options = "rawvideo", {"video_size": f"{raw[0]}x{raw[1]}", "pixel_format": "rgb24"}
            container = files.enter_context(av.open(opened, format=kind, options=options))
            stream = container.streams.video[0]
            for frame in container.decode(stream):
                yield frame.to_ndarray(format="rgb24"), stream.average_rate or Fraction(25)
        except (*ERRORS, IndexError) as error:
            told = getattr(error, "strerror", None) or error
            raise InputError(f"{source}: {told}; expected a camera, a video, or - for a pipe") from None


class Input:
    """A pipe, or a file that others may still write to: `read` waits for more, up to `patience` seconds."""

    def __init__(self, file: RawIOBase, stop: Stop, patience: float):
        self._file, self._stop, self._patience = file, stop, patience

    def read(self, count: int) -> bytes:
        data, deadline = b"", time.monotonic() + self._patience
        with contextlib.suppress(KeyboardInterrupt):
            self._stop.is_reading = True
            while not self._stop.is_asked and not (data := self._file.read(count)) and time.monotonic() < deadline:
                time.sleep(0.05)
        self._stop.is_reading = False
        return data


class LiveWriter:
    """Writes what is shown of frames of a size (H, W) to a video file or, for "-", raw in NUT to standard output.

    Used in a `with` block, at whose end the file is whole. H.264 has no odd sizes: a last row or column is left out.
    """

    def __init__(self, output: str, show: str, size: tuple[int, int], rate: Fraction | int):
        is_pipe, self._output = output == "-", output
        self._pixels, codec, pixels, self._draw = SHOWN[show]
        if is_pipe:
            codec, pixels = "rawvideo", self._pixels
        even = 2 if pixels == "yuv420p" else 1
        self._height, self._width = (length // even * even for length in size)
        with report_write_errors(output, ERRORS):
            self._container = av.open(sys.stdout.buffer if is_pipe else output, "w", format="nut" if is_pipe else None)
            try:
                self._stream = self._container.add_stream(codec, rate=Fraction(rate))
            except ValueError as error:  # this kind of file does not take the codec
                raise InputError(f"{output}: {error}; expected a name such as live.mkv") from None
        self._stream.height, self._stream.width, self._stream.pix_fmt = self._height, self._width, pixels

    def write(self, frame: np.ndarray, probability: np.ndarray) -> None:
        """Writes what is shown of the next frame (H, W, 3) and its probabilities (H, W)."""
        picture = np.ascontiguousarray(self._draw(frame, probability)[: self._height, : self._width])
        with report_write_errors(self._output, ERRORS):
            self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(picture, self._pixels)))

    def __enter__(self) -> LiveWriter:
        return self

    def __exit__(self, kind, value, traceback) -> None:
        with report_write_errors(self._output, ERRORS):
            self._container.mux(self._stream.encode())
            self._container.close()
