"""A visitor's clip: its results against the segmenter's maps, its pictures, and what is refused."""

from __future__ import annotations

import os
import shutil
import zipfile

import av
import cv2
import numpy as np
import pytest
from video_files import decoded_with_alpha, encode, make_frames

from cosnet_jax.commands import app_clip
from cosnet_jax.commands.app_clip import VIEWS, Clip, Limits, Model
from cosnet_jax.errors import InputError
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.video.reader import open_video
from cosnet_jax.visualization.cutouts import alpha_of, lay_over
from cosnet_jax.visualization.overlays import overlay


@pytest.fixture(scope="module")
def model(checkpoint):
    return Model.load(checkpoint)


@pytest.fixture
def source(tmp_path, frames):
    return encode(tmp_path / "source.mkv", list(frames))


@pytest.fixture
def clip(source, tmp_path):
    """The clip of an uploaded copy of `source`."""
    upload = shutil.copy(source, tmp_path / "upload.mkv")
    return Clip(upload, tmp_path / "private", tmp_path / "public", Limits())


def shown(path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def assert_alike(picture, expected):
    """Asserts that a JPEG shows a picture: noise of single pixels does not survive in it."""
    assert picture.shape == expected.shape
    assert abs(cv2.blur(picture, (5, 5)).astype(float) - cv2.blur(expected, (5, 5))).mean() < 8


def test_results_are_those_of_the_segmenter(clip, model, checkpoint, source, tmp_path):
    assert clip.describe() == "upload.mkv: 6 frames, 64 x 48, 0.2 s"
    assert os.listdir(tmp_path / "private") == ["upload.mkv"] and not (tmp_path / "upload.mkv").exists()
    assert list(clip.segment(model, 2, "consecutive")) == [1, 2, 3, 4, 5, 6]
    frames = np.stack(list(open_video(source)))
    maps = Segmenter.from_pretrained(checkpoint, num_references=2, sampling="consecutive")(frames)
    masks, cutout, drawn = clip.downloads()
    with zipfile.ZipFile(masks) as archive:
        assert archive.namelist() == [f"masks/{number:05d}.png" for number in range(6)]
        for name, probability in zip(archive.namelist(), maps, strict=True):
            mask = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(mask, 255 * (probability > 0.5))
    alphas = decoded_with_alpha(cutout)[0][..., 3]
    assert abs(alphas - 255 * np.stack([alpha_of(probability) for probability in maps])).mean() < 8
    with av.open(str(drawn)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
    board = app_clip.chessboard((48, 64))
    assert len(np.unique(board)) == 2
    expected = {
        "Original": frames[4],
        "Mask": np.repeat(255 * (maps[4] > 0.5)[..., None], 3, axis=2).astype(np.uint8),
        "Cut-out": lay_over(frames[4], alpha_of(maps[4]), board),
        "Overlay": overlay(frames[4], maps[4] > 0.5),
    }
    for view in VIEWS:
        assert_alike(shown(clip.picture(4, view)), expected[view])
    assert clip.picture(9, "Mask") == clip.picture(5, "Mask")  # the slider of a clip of one frame ends at 1


def test_a_clicked_place_is_answered_by_its_references(clip, model, monkeypatch):
    monkeypatch.setattr(app_clip, "LONGEST_SIDE", 32)
    small = Clip(shutil.copy(clip.video.path, clip.video.path.parent / "b.mkv"), *make_folders(clip), Limits())
    list(small.segment(model, 2, "consecutive"))
    assert shown(small.picture(0, "Original")).shape == (24, 32, 3)  # half as large
    asked = []

    def attention(model, segmenter, clip, pixel):
        asked.append((clip.copy(), pixel))
        maps = np.zeros((2, 6, 8), np.float32)
        maps[0, 1, 2], maps[1, 4, 6] = 0.5, 0.1
        return maps

    monkeypatch.setattr(Model, "attention", attention)
    paths, captions = zip(*small.answers(model, 3, (10, 20)), strict=True)
    assert captions == ("frame 3, clicked", "frame 2", "frame 4")
    frames, pixel = asked[0]
    np.testing.assert_array_equal(frames, clip.video.read([3, 2, 4]))
    assert pixel == (40, 20)
    cross, first, second = map(shown, paths)
    assert cross[20, 10, 0] / 2 > cross[20, 10, 1]  # red
    for picture, place in ((first, (6, 10)), (second, (18, 26))):  # the bright cell, whatever its height
        warmth = cv2.blur(picture.astype(np.float32), (5, 5))[..., 0]
        assert abs(np.array(np.unravel_index(warmth.argmax(), warmth.shape)) - place).max() <= 3


def make_folders(clip):
    """Folders for a second clip beside those of another."""
    return clip.video.path.parents[1] / "private2", clip.video.path.parents[1] / "public2"


def test_attention_is_that_of_the_clicked_cell(clip, model):
    list(clip.segment(model, 5, "uniform"))
    attention = model.attention(clip._segmenter, clip.video.read([0, 3, 5]), (40, 20))
    assert attention.shape == (2, 4, 5)
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1, atol=1e-5)
    assert len(clip.answers(model, 0, (20, 40))) == 6


def test_a_second_segmentation_replaces_the_first(clip, model):
    with pytest.raises(InputError, match=r"not segmented yet\. Choose Segment"):
        clip.picture(0, "Mask")
    list(clip.segment(model, 2, "uniform"))
    before = clip.picture(0, "Mask")
    list(clip.segment(model, 0, "uniform"))
    assert clip.picture(0, "Mask") != before and not before.parent.exists()  # browsers keep what had the same name
    with pytest.raises(InputError, match="Choose N = 1 or more"):
        clip.answers(model, 0, (3, 3))


def test_requests_that_the_page_does_not_make_are_refused(clip, model):
    with pytest.raises(InputError, match=r"no view '../x'; expected one of Original, Mask"):
        clip.picture(0, "../x")
    with pytest.raises(InputError, match="N is 11; this page takes at most 10"):
        next(clip.segment(model, 11, "uniform"))


def test_a_segmentation_stops_when_the_visitor_leaves(clip, model):
    done = clip.segment(model, 2, "uniform")
    assert next(done) == 1
    clip.left = True
    with pytest.raises(InputError, match="the page was closed"):
        list(done)
    with pytest.raises(InputError, match="not segmented"):
        clip.downloads()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(seconds=0.2), r"upload.mkv is 0.2 s long; this page takes 0.2. Upload a part of it"),
        (Limits(side=63), "upload.mkv is 64 x 48; this page takes 63 pixels a side. Scale it down"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_and_removed(source, tmp_path, limits, message):
    upload = shutil.copy(source, tmp_path / "upload.mkv")
    with pytest.raises(InputError, match=message):
        Clip(upload, tmp_path / "private", tmp_path / "public", limits)
    assert os.listdir(tmp_path) == ["source.mkv"]


def test_a_clip_has_at_most_60_frames_a_second(tmp_path):
    fast = encode(tmp_path / "fast.mkv", make_frames(31), rate=1000, codec="mjpeg", pix_fmt="yuvj420p")
    with pytest.raises(InputError, match=r"fast.mkv: more than 30 frames; split the video into parts"):
        Clip(fast, tmp_path / "private", tmp_path / "public", Limits(seconds=0.5))


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"seconds": float("nan")}, {"seconds": 1e9}, {"side": 0}])
def test_limits_have_limits(limits):
    with pytest.raises(InputError, match=f"--max-{next(iter(limits))} is .*; expected "):
        Limits(**limits)
