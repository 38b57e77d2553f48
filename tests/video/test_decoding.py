"""Video files, against frames that were put into them losslessly and against PyAV alone."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import HEIGHT, WIDTH, decoded_by_pyav, encode, make_frames, packets_of, turn

from cosnet_jax.errors import InputError
from cosnet_jax.video.reader import open_video


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "options"),
    [
        ("a.mp4", "libx264", "yuv420p", {"g": "8"}),
        ("a.mov", "mjpeg", "yuvj420p", {}),
        ("a.mkv", "ffv1", "bgr0", {}),
        ("b.mkv", "libx264", "yuv420p", {"g": "7", "bf": "3"}),
        ("a.webm", "libvpx-vp9", "yuv420p", {"g": "8", "deadline": "realtime", "cpu-used": "8"}),
        ("b.webm", "libvpx", "yuv420p", {"g": "8", "deadline": "realtime", "cpu-used": "8"}),
        ("a.avi", "mpeg4", "yuv420p", {"g": "8"}),
        ("b.avi", "libx264", "yuv420p", {"g": "8", "bf": "3"}),  # avi stores no presentation times
        ("a.ts", "mpeg2video", "yuv420p", {"g": "8", "bf": "2"}),
        ("a.mpg", "mpeg2video", "yuv420p", {"g": "8"}),
        ("a.gif", "gif", "rgb8", {}),
        ("a.h264", "libx264", "yuv420p", {"g": "8"}),  # no container: no times at all
    ],
)
def test_every_format_gives_the_same_frames_by_iteration_and_by_index(tmp_path, name, codec, pix_fmt, options):
    path = encode(tmp_path / name, make_frames(20), codec, pix_fmt, rate=25, **options)
    expected = decoded_by_pyav(path)
    video = open_video(path)
    assert (video.name, len(video), video.size) == (name[0], 20, (HEIGHT, WIDTH))
    assert video.frame_names[:2] == ("00000", "00001") and len(set(video.frame_names)) == 20
    assert (video.fps, video.timestamps) == (25, None)
    for _ in range(2):
        np.testing.assert_array_equal(list(video), expected)
    chosen = [19, 0, 7, 8, 9, 16, 7]
    np.testing.assert_array_equal(video.read(chosen), [expected[index] for index in chosen])
    for index in (12, 3):
        np.testing.assert_array_equal(video.read([index])[0], expected[index])


# The frames of mpeg4 are counted by decoding.
@pytest.mark.parametrize(("codec", "pix_fmt"), [("libx264", "yuv420p"), ("ffv1", "bgr0"), ("mpeg4", "yuv420p")])
def test_a_file_is_opened_once_for_each_use(tmp_path, monkeypatch, codec, pix_fmt):
    path = encode(tmp_path / "a.mkv", make_frames(20), codec, pix_fmt)
    real, opened = av.open, []
    monkeypatch.setattr(av, "open", lambda *args, **options: opened.append(args) or real(*args, **options))
    video = open_video(path)
    assert len(opened) == 1
    list(video)
    assert len(opened) == 2
    video.read([7, 3])
    assert len(opened) == 3


@pytest.mark.parametrize("owner", ["container", "stream"])
def test_metadata_of_any_encoding_is_accepted(tmp_path, owner):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "bgr0"
        (container if owner == "container" else stream).metadata["title"] = "latin-1"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(make_frames(1)[0], "rgb24")))
        container.mux(stream.encode())
    data = path.read_bytes()
    assert data.count(b"latin-1") == 1
    path.write_bytes(data.replace(b"latin-1", b"caf\xe9 \xff!"))
    np.testing.assert_array_equal(list(open_video(path)), make_frames(1))


def test_lossless_frames_come_back_exactly(tmp_path):
    frames = make_frames(5, height=31, width=45)
    video = open_video(encode(tmp_path / "odd.mkv", frames))
    assert video.size == (31, 45)
    np.testing.assert_array_equal(list(video), frames)


def test_frames_that_the_decoder_drops_are_not_counted(tmp_path):
    """A stream cut at an open group of pictures: the first frames refer to what was cut off."""
    open_groups = {"x264-params": "open-gop=1:keyint=15:bframes=3:b-adapt=0"}
    whole = encode(tmp_path / "whole.ts", make_frames(40), "libx264", "yuv420p", **open_groups)
    cut, packets = tmp_path / "cut.mkv", packets_of(whole)
    second_key = [number for number, packet in enumerate(packets) if packet.is_keyframe][1]
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in packets[second_key:]:
            packet.stream = stream
            target.mux(packet)
    expected = decoded_by_pyav(cut)
    assert len(expected) < len(packets_of(cut))
    video = open_video(cut)
    assert len(video) == len(expected)
    np.testing.assert_array_equal(list(video), expected)
    np.testing.assert_array_equal(video.read([0, 9]), [expected[0], expected[9]])


def test_a_variable_frame_rate_gives_timestamps(tmp_path):
    times = [0, 40, 80, 500, 540, 1000]
    video = open_video(encode(tmp_path / "a.mkv", make_frames(6), times=times))
    assert video.timestamps == pytest.approx([0.0, 0.04, 0.08, 0.5, 0.54, 1.0], abs=1e-9)
    assert video.fps == 5


def test_a_declared_rate_that_drifts_from_the_times_is_not_taken(tmp_path):
    times = [round(1000 * number / 24.9) for number in range(300)]
    assert encode_rates(tmp_path / "long.mkv", times) == (25, pytest.approx(24.9, abs=1e-3))
    assert encode_rates(tmp_path / "short.mkv", times[:30]) == (25, 25)


def encode_rates(path, times):
    """The rate that a file declares, and the one that its video has."""
    encode(path, make_frames(1) * len(times), times=times)
    with av.open(str(path)) as container:
        declared = container.streams.video[0].average_rate
    video = open_video(path)
    assert video.timestamps is None
    return declared, video.fps


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(50), Fraction(15, 2)])
def test_rounded_times_do_not_make_a_rate_variable(tmp_path, rate):
    video = open_video(encode(tmp_path / "a.mkv", make_frames(30), rate=rate))
    assert (video.fps, video.timestamps) == (rate, None)


@pytest.mark.parametrize(("quarter_turns", "matrix"), [(1, (0, -1, 1, 0)), (2, (-1, 0, 0, -1)), (3, (0, 1, -1, 0))])
def test_rotation_metadata_is_honoured(tmp_path, quarter_turns, matrix):
    path = turn(encode(tmp_path / "phone.mp4", make_frames(3), "libx264", "yuv420p"), matrix)
    expected = [np.rot90(image, quarter_turns) for image in decoded_by_pyav(path)]
    video = open_video(path)
    assert video.size == ((WIDTH, HEIGHT) if quarter_turns % 2 else (HEIGHT, WIDTH))
    np.testing.assert_array_equal(list(video), expected)
    np.testing.assert_array_equal(video.read([1])[0], expected[1])


def test_transparent_video_is_composited_over_black(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    (image,) = open_video(encode(tmp_path / "a.mkv", [colours], pix_fmt="bgra"))
    expected = colours[..., :3] * (colours[..., 3:] / 255)
    np.testing.assert_allclose(image, expected, atol=0.51)  # rounding


@pytest.mark.parametrize("pix_fmt", ["gray", "gray16le", "yuv444p10le", "gbrp16le"])
def test_grey_and_deep_video_becomes_8_bit_rgb(tmp_path, pix_fmt):
    grey = np.repeat(make_frames(1)[0][..., :1], 3, axis=-1)
    (image,) = open_video(encode(tmp_path / "a.mkv", [grey], pix_fmt=pix_fmt))
    assert image.dtype == np.uint8 and image.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(image.astype(int), grey.astype(int), atol=2)  # limited range has 219 levels


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "options"),
    [
        ("a.mp4", "libx264", "yuv420p", {}),
        ("fast.mp4", "libx264", "yuv420p", {}),
        ("a.mkv", "ffv1", "bgr0", {}),
        ("a.webm", "libvpx", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}),
        ("a.avi", "mpeg4", "yuv420p", {}),
        ("a.gif", "gif", "rgb8", {}),
    ],
)
def test_a_truncated_file_is_a_one_line_error(tmp_path, name, codec, pix_fmt, options, share):
    path = encode(tmp_path / name, make_frames(100), codec, pix_fmt, **options)
    if name == "fast.mp4":  # index first: the file opens even if most of it is missing
        slow = path.rename(tmp_path / "slow.mp4")
        with av.open(str(slow)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"not a readable video|truncated|damaged|no frame") as caught:
        open_video(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_damage_inside_a_file_is_an_error_at_the_damaged_frame(tmp_path):
    path = encode(tmp_path / "a.webm", make_frames(20), "libvpx-vp9", "yuv420p", deadline="realtime")
    data, packet = bytearray(path.read_bytes()), bytes(packets_of(path)[12])
    start = data.index(packet)
    data[start : start + 8] = bytes(8)
    path.write_bytes(data)
    video, shown = open_video(path), 0
    with pytest.raises(InputError, match=rf"^{path}: damaged or truncated after 12 frames"):
        for _ in video:
            shown += 1
    assert shown == 12
    assert len(video.read([0, 11])) == 2
    with pytest.raises(InputError, match="damaged"):
        video.read([15])
