"""Frames that are easy to tell apart, and video files made of them with PyAV."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

HEIGHT, WIDTH = 48, 66


def make_frames(count, height=HEIGHT, width=WIDTH):
    """Frames that differ from each other by far more than any codec's error."""
    rows, columns = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin((rows * 0.2 + columns * 0.1) + number * 0.9) for number in range(count)]
    return [np.stack([wave, np.roll(wave, 5, 0), np.roll(wave, 9, 1)], -1).astype(np.uint8) for wave in waves]


def encode(path, frames, codec="ffv1", pix_fmt="bgr0", rate=25, times=None, **options):
    """Writes a video with PyAV; `times` are milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pix_fmt
        stream.codec_context.thread_count = 1  # FFmpeg's conversion to deep formats is not the same twice with threads
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, "rgba" if image.shape[2] == 4 else "rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def packets_of(path):
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def decoded_by_pyav(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
