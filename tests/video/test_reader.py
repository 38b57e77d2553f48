"""Opening videos: folders of images against Pillow, what `open_video` promises, and what it refuses."""

from __future__ import annotations

import pickle

import av
import numpy as np
import pytest
from PIL import Image
from video_files import HEIGHT, WIDTH, encode, make_frames

from cosnet_jax.errors import InputError
from cosnet_jax.video.reader import open_video
from cosnet_jax.video.video import Video


def save_images(folder, names, size=(WIDTH, HEIGHT), suffix="png"):
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size, (number, 2 * number, 3 * number)).save(folder / f"{name}.{suffix}")
    return folder


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


def test_the_current_folder_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(save_images(tmp_path / "holiday", ["1"]))
    assert open_video(".").name == "holiday"


def test_one_image_is_a_video_of_one_frame(tmp_path):
    save_images(tmp_path, ["holiday"])
    video = open_video(tmp_path / "holiday.png")
    assert (video.name, video.frame_names, len(list(video))) == ("holiday", ("holiday",), 1)


@pytest.mark.parametrize("kind", ["grey", "palette", "rgba", "la", "grey16", "jpeg", "rotated", "grey jpeg"])
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
        exif[0x0112] = 6 if kind == "rotated" else 1  # the tag of the orientation
        smooth = Image.fromarray(make_frames(1)[0])
        (smooth.convert("L") if kind == "grey jpeg" else smooth).save(path, exif=exif, subsampling=0)
        stored = Image.open(path).convert("RGB")
        expected = stored.rotate(-90, expand=True) if kind == "rotated" else stored
        tolerance = 2  # decoders may round differently
    image = next(iter(open_video(path)))
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image.astype(int), np.asarray(expected).astype(int), atol=tolerance)


def test_frames_of_different_sizes_are_an_error_that_names_file_and_sizes(tmp_path):
    folder = save_images(tmp_path / "clip", ["1", "2", "3"], suffix="jpg")
    Image.new("RGB", (20, 10)).save(folder / "3.jpg")
    with pytest.raises(
        InputError, match=r"3\.jpg: 20 x 10 pixels, but 1\.jpg has 66 x 48; expected frames of one size$"
    ):
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


def test_iterations_do_not_disturb_each_other_and_a_video_can_be_pickled(tmp_path):
    video = pickle.loads(pickle.dumps(open_video(encode(tmp_path / "a.mkv", make_frames(6)))))
    assert isinstance(video, Video)
    first, second = iter(video), iter(video)
    next(first)
    video.read([3])
    np.testing.assert_array_equal(next(second), next(iter(video)))
    assert len(list(first)) == 5


def test_an_index_out_of_range_is_an_error(tmp_path):
    video = open_video(encode(tmp_path / "a.mkv", make_frames(3)))
    assert video.read([]).shape == (0, HEIGHT, WIDTH, 3)
    for index in (3, -1):
        with pytest.raises(IndexError, match=f"no frame {index} in a video of 3 frames"):
            video.read([0, index])


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
def test_other_files_are_one_line_errors(tmp_path, name, content, message):
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
