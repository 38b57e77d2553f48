"""`cosnet live`: a camera or a stream to masks, overlays or cut-outs while it runs."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Generator
from fractions import Fraction
from typing import Any, BinaryIO

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
PIXELS = {"masks": "gray", "overlay": "rgb24", "rgba": "rgba"}  # FFmpeg's names of what is shown
FILES = {"masks": ("libx264", "yuv420p"), "overlay": ("libx264", "yuv420p"), "rgba": ("ffv1", "bgra")}  # codec, pixels
PATIENCE = 5.0  # seconds without new bytes after which a growing file has ended


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a camera's number or device, a growing file, a URL, or - for a pipe")
    add("--output", required=True, metavar="FILE", help="a video such as live.mkv, or - for raw frames in NUT")
    add("--show", choices=PIXELS, default="overlay", help="what is written (overlay); rgba has transparency")
    add("--raw", nargs=2, type=int, metavar=("W", "H"), help="the pipe holds raw frames, rgb24, of this size")
    add("--fps", type=int, default=25, help="frames per second that the output declares (25)")
    add("--num-references", type=int, metavar="N", help="earlier frames that each frame is compared with")
    add_network_arguments(parser, "--size")


def run(arguments: argparse.Namespace) -> int:
    """Segments until the source ends or Ctrl-C; what was written is a whole file in both cases."""
    size = tuple(arguments.size) if arguments.size else None
    settings = {"size": size, "num_references": arguments.num_references}
    online = Segmenter.from_pretrained(arguments.checkpoint, **settings).online()
    count, start = 0, time.monotonic()
    frames = raw_frames(sys.stdin.buffer, *arguments.raw) if arguments.raw else decoded_frames(arguments.source)
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(frames), contextlib.ExitStack() as files:
        for frame in frames:
            probability = online.push(frame)
            if not count:
                writer = files.enter_context(LiveWriter(arguments.output, arguments.show, frame, arguments.fps))
            writer.write(picture(arguments.show, frame, probability))
            count += 1
            print(f"\r{count} frames, {count / (time.monotonic() - start):.1f} a second", end="", file=sys.stderr)
    print(file=sys.stderr)
    if not count:
        raise InputError(f"{arguments.source}: no frame came; expected a camera, a growing file, or - for a pipe")
    return 0


def picture(show: str, frame: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Draws what is written of a frame: (H, W) uint8 of 0 and 255, (H, W, 3) or (H, W, 4)."""
    if show == "rgba":
        return cut_out(frame, alpha_of(probability))
    mask = probability > 0.5
    return overlay(frame, mask) if show == "overlay" else np.where(mask, 255, 0).astype(np.uint8)


def raw_frames(pipe: BinaryIO, width: int, height: int) -> Generator[np.ndarray]:
    """Yields frames (height, width, 3) uint8 RGB from a pipe of raw bytes; an incomplete last one is left out."""
    while len(data := pipe.read(width * height * 3)) == width * height * 3:
        yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


def decoded_frames(source: str) -> Generator[np.ndarray]:
    """Yields the frames of a camera, a pipe ("-"), a URL, or a file that may still grow.

    Raises:
      InputError: the source cannot be opened or decoded.
    """
    options: dict[str, Any] = {}
    opened: Any = source
    with contextlib.ExitStack() as files:
        try:
            if source.isdigit() or source.startswith("/dev/video"):
                device, options["format"] = CAMERAS.get(sys.platform, CAMERAS["linux"])
                opened = device.format(source) if source.isdigit() else source
            elif source == "-":
                opened = sys.stdin.buffer
            elif "://" not in source:
                opened = GrowingFile(files.enter_context(open(source, "rb")))
            container = files.enter_context(av.open(opened, **options))
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
        except (av.FFmpegError, OSError) as error:
            message = f"{source}: {error.strerror or error}; expected a camera, a video, or - for a pipe"
            raise InputError(message) from None


class GrowingFile:
    """A file without an end while others still write to it: `read` waits for more, up to `PATIENCE` seconds."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def read(self, count: int) -> bytes:
        deadline = time.monotonic() + PATIENCE
        while not (data := self._file.read(count)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return data


class LiveWriter:
    """Writes pictures to a video file or, for "-", as raw frames in NUT to standard output; used in a `with` block.

    The file is whole when the block ends, also by Ctrl-C.
    """

    def __init__(self, output: str, show: str, frame: np.ndarray, fps: int):
        self._output, self._pixels = output, PIXELS[show]
        codec, pixels = FILES[show] if output != "-" else ("rawvideo", self._pixels)
        even = 2 if pixels == "yuv420p" else 1  # H.264 has no odd sizes
        self._size = tuple(length // even * even for length in frame.shape[:2])
        with report_write_errors(output, (av.FFmpegError, OSError)):
            pipe = output == "-"
            self._container = av.open(sys.stdout.buffer if pipe else output, "w", format="nut" if pipe else None)
            try:
                self._stream = self._container.add_stream(codec, rate=Fraction(fps))
            except ValueError as error:  # the container does not take the codec
                raise InputError(f"{output}: {error}; expected a name such as live.mkv") from None
        self._stream.height, self._stream.width = self._size
        self._stream.pix_fmt = pixels

    def write(self, image: np.ndarray) -> None:
        """Writes the next picture."""
        height, width = self._size
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), self._pixels)
        with report_write_errors(self._output, (av.FFmpegError, OSError)):
            self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> LiveWriter:
        return self

    def __exit__(self, kind, value, traceback) -> None:
        with report_write_errors(self._output, (av.FFmpegError, OSError)):
            self._container.mux(self._stream.encode())
            self._container.close()
