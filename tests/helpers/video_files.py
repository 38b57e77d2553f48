"""Frames that are easy to tell apart, and video files made of them with PyAV; files with sound and with alpha."""

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


def packets_of(path, kind="video"):
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(**{kind: 0}) if packet.size]


def decoded_by_pyav(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


RATE = 48_000
BEEPS = [(0.1, 0.3), (0.6, 0.8)]  # seconds in the file


def encode_with_beeps(path, frames, sound_codec="aac", codec="libx264", pix_fmt="yuv420p", first_frame=0.0, channels=2):
    """Writes a video of 10 frames a second, the first one shown at `first_frame` seconds, and beeps on two seconds."""
    seconds = np.arange(2 * RATE) / RATE
    on = sum((start < seconds) & (seconds < end) for start, end in BEEPS)
    wave = np.tile((0.5 * on * np.sin(2 * np.pi * 1000 * seconds) * 32767).astype(np.int16), (channels, 1))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        layout = "mono" if channels == 1 else "stereo"
        track = container.add_stream(sound_codec, rate=RATE, layout=layout)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = round(1000 * first_frame) + 100 * number, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        sound = av.AudioFrame.from_ndarray(wave, "s16p", layout)
        sound.rate, sound.pts, sound.time_base = RATE, 0, Fraction(1, RATE)
        container.mux(track.encode(sound))
        container.mux(track.encode())
        container.mux(stream.encode())
    return path


def beeps_of(path):
    """When beeps start and end, in seconds from the first frame: an array (number of beeps, 2)."""
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
    line, start = np.zeros(3 * 48_000), first.pts * first.time_base
    resampler = av.AudioResampler("flt", "mono", 48_000)
    with av.open(str(path)) as container:
        for decoded in container.decode(audio=0):
            for frame in resampler.resample(decoded):
                at = round((frame.pts * frame.time_base - start) * 48_000)
                samples = frame.to_ndarray().ravel()[max(-at, 0) :]
                line[max(at, 0) : max(at, 0) + len(samples)] = samples
    loud = np.convolve(abs(line), np.ones(96) / 96, "same") > 0.1
    return np.flatnonzero(np.diff(loud.astype(int))).reshape(-1, 2) / 48_000


def decoded_with_alpha(path):
    """The frames of a video with transparency, uint8 RGBA, and their times in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        if context.name == "vp9":  # FFmpeg's own decoder leaves the alpha out
            context = av.CodecContext.create("libvpx-vp9", "r")
        frames, times = [], []
        for packet in container.demux(stream):
            if packet.size:
                times.append(float(packet.pts * packet.time_base))
            for frame in context.decode(packet if packet.size else None):
                frames.append(np.dstack([frame.to_ndarray(format="rgb24", threads=1), _alpha(frame)]))
    return np.stack(frames), times


def _alpha(frame):
    """The alpha plane as stored: FFmpeg's conversion of yuva420p to rgba spoils the last columns of some widths."""
    if len(frame.planes) < 4:
        return np.full((frame.height, frame.width), 255, np.uint8)
    plane, bits = frame.planes[3], frame.format.components[3].bits
    levels = np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16)
    return (levels.reshape(frame.height, -1)[:, : frame.width] >> (bits - 8)).astype(np.uint8)


def turn(path, matrix=(0, -1, 1, 0)):
    """Turns an mp4 by a quarter by writing the 3x3 matrix of its track header by hand, as phones do."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of other fields
    for place, value in zip((0, 1, 3, 4), matrix, strict=True):
        data[start + 4 * place : start + 4 * place + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    return path
