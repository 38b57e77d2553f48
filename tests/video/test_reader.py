"""Reading videos, against frames that were put into the files losslessly, PyAV alone, and Pillow."""

from __future__ import annotations

import pickle
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from cosnet_jax.errors import InputError
from cosnet_jax.video.reader import open_video

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


def save_images(folder, names, size=(WIDTH, HEIGHT), suffix="png"):
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size, (number, 2 * number, 3 * number)).save(folder / f"{name}.{suffix}")
    return folder


# Folders of frames


def test_folder_is_read_in_natural_order(tmp_path):
    names = ["frame1", "frame2", "frame3", "frame10", "frame11", "frame100"]
    folder = save_images(tmp_path / "clip.one", names)
    (folder / "notes.txt").write_text("not a frame")
    (folder / "._frame1.png").write_bytes(b"what macOS leaves on other disks")
    video = open_video(folder)
    assert video.name == "clip.one"
    assert video.frame_names == tuple(names)
    assert video.size == (HEIGHT, WIDTH)
    assert video.timestamps is None
    assert [int(image[0, 0, 2]) for image in video] == [0, 3, 6, 9, 12, 15]
    assert video.read([5, 0, 5])[:, 0, 0, 2].tolist() == [15, 0, 15]


def test_the_folder_one_stands_in_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(save_images(tmp_path / "holiday", ["1"]))
    assert open_video(".").name == "holiday"


def test_one_image_is_a_video_of_one_frame(tmp_path):
    save_images(tmp_path, ["holiday"])
    video = open_video(tmp_path / "holiday.png")
    assert (video.name, video.frame_names, len(list(video))) == ("holiday", ("holiday",), 1)


@pytest.mark.parametrize("kind", ["grey", "palette", "rgba", "la", "grey16", "jpeg", "turned", "grey jpeg"])
def test_every_kind_of_image_becomes_rgb_as_pillow_reads_it(tmp_path, kind):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    path, tolerance = tmp_path / "image.png", 0
    if kind == "grey":
        Image.fromarray(colours[..., 0]).save(path)
        expected = np.repeat(colours[..., :1], 3, axis=-1)
    elif kind == "palette":
        Image.fromarray(colours[..., :3]).quantize(17).save(path)
        expected = np.asarray(Image.open(path).convert("RGB"))
    elif kind in ("rgba", "la"):
        picture = Image.fromarray(colours)
        picture = picture.convert("LA") if kind == "la" else picture
        picture.save(path)
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        expected, tolerance = Image.alpha_composite(black, picture.convert("RGBA")).convert("RGB"), 1  # rounding
    elif kind == "grey16":
        levels = rng.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
        Image.fromarray(levels).save(path)
        expected = np.rint(levels / 257)[..., None].repeat(3, axis=-1)
    else:
        path = tmp_path / "image.jpg"
        exif = Image.Exif()
        exif[0x0112] = 6 if kind == "turned" else 1  # the tag of the orientation
        smooth = Image.fromarray(make_frames(1)[0])
        (smooth.convert("L") if kind == "grey jpeg" else smooth).save(path, exif=exif, subsampling=0)
        stored = Image.open(path).convert("RGB")
        expected = stored.rotate(-90, expand=True) if kind == "turned" else stored
        tolerance = 2  # decoders may round differently
    image = next(iter(open_video(path)))
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image.astype(int), np.asarray(expected).astype(int), atol=tolerance)


def test_frames_of_different_sizes_are_an_error_that_names_file_and_sizes(tmp_path):
    folder = save_images(tmp_path / "clip", ["1", "2", "3"], suffix="jpg")
    Image.new("RGB", (20, 10)).save(folder / "3.jpg")
    with pytest.raises(InputError, match=r"3\.jpg: 20 x 10 pixels, but 1\.jpg has 66 x 48$"):
        open_video(folder)


def test_images_of_one_name_are_an_error(tmp_path):
    folder = save_images(tmp_path / "clip", ["1", "2"])
    save_images(folder, ["1"], suffix="jpg")
    with pytest.raises(InputError, match=r"1\.jpg and 1\.png would be the same frame"):
        open_video(folder)


@pytest.mark.parametrize("content", [b"", b"no image", "half"])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("which", ["1", "2"])
def test_a_damaged_image_is_an_error_that_names_it(tmp_path, suffix, content, which):
    folder = save_images(tmp_path / "clip", ["1", "2"], suffix=suffix)
    file = folder / f"{which}.{suffix}"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(InputError, match=rf"{which}\.{suffix}: (not a readable image|the image is truncated)"):
        list(open_video(folder))


# Video files


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
        ("b.avi", "libx264", "yuv420p", {"g": "8", "bf": "3"}),  # an avi has no times of display
        ("a.ts", "mpeg2video", "yuv420p", {"g": "8", "bf": "2"}),
        ("a.mpg", "mpeg2video", "yuv420p", {"g": "8"}),
        ("a.gif", "gif", "rgb8", {}),
        ("a.h264", "libx264", "yuv420p", {"g": "8"}),  # no container: no times at all
    ],
)
def test_every_format_gives_the_same_frames_in_order_and_at_will(tmp_path, name, codec, pix_fmt, options):
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


def test_frames_that_packets_promise_but_the_decoder_drops_are_not_counted(tmp_path):
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


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(50), Fraction(15, 2)])
def test_rounded_times_do_not_make_a_rate_variable(tmp_path, rate):
    video = open_video(encode(tmp_path / "a.mkv", make_frames(30), rate=rate))
    assert (video.fps, video.timestamps) == (rate, None)


@pytest.mark.parametrize(("quarter_turns", "matrix"), [(1, (0, -1, 1, 0)), (2, (-1, 0, 0, -1)), (3, (0, 1, -1, 0))])
def test_rotation_metadata_is_honoured(tmp_path, quarter_turns, matrix):
    """Rotates by writing the 3x3 matrix of the mp4's track header by hand, as phones do."""
    path = encode(tmp_path / "phone.mp4", make_frames(3), "libx264", "yuv420p")
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of other fields
    for place, value in zip((0, 1, 3, 4), matrix, strict=True):
        data[start + 4 * place : start + 4 * place + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
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


def test_iterations_do_not_disturb_each_other_and_a_video_can_be_pickled(tmp_path):
    video = pickle.loads(pickle.dumps(open_video(encode(tmp_path / "a.mkv", make_frames(6)))))
    first, second = iter(video), iter(video)
    next(first)
    video.read([3])
    np.testing.assert_array_equal(next(second), next(iter(video)))
    assert len(list(first)) == 5


def test_reading_a_frame_that_is_not_there_is_an_index_error(tmp_path):
    video = open_video(encode(tmp_path / "a.mkv", make_frames(3)))
    assert video.read([]).shape == (0, HEIGHT, WIDTH, 3)
    for index in (3, -1):
        with pytest.raises(IndexError, match=f"no frame {index} in a video of 3 frames"):
            video.read([0, index])


# What is no video


def silence(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing.mp4", None, "no such video file or folder of frames"),
        ("folder", "folder", "no jpg or png frames in this folder"),
        ("empty.mp4", b"", "the file is empty"),
        ("zeros.mp4", bytes(5000), "not a readable video"),
        ("noise.avi", np.random.default_rng(0).bytes(5000), "not a readable video"),
        ("text.mp4", b"text\n" * 100, "not a readable video"),
        ("text.txt", b"text\n" * 100, "there is no video in this file"),
        ("silence.mp4", silence, "there is no video in this file"),
    ],
)
def test_what_is_no_video_gives_one_clear_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif callable(content):
        content(path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_video(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


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
def test_a_truncated_file_gives_one_clear_line(tmp_path, name, codec, pix_fmt, options, share):
    path = encode(tmp_path / name, make_frames(100), codec, pix_fmt, **options)
    if name == "fast.mp4":  # the index first, so that the file opens however little of it is there
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


def test_damage_inside_a_file_is_said_where_it_is_met(tmp_path):
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
