"""A visitor's clip: its results against the segmenter's maps, its pictures, and what is refused."""

from __future__ import annotations

import dataclasses
import os
import zipfile

import av
import cv2
import numpy as np
import pytest
from video_files import decoded_with_alpha, encode

from cosnet_jax.checkpoints.load import load_checkpoint
from cosnet_jax.commands.app_clip import VIEWS, Choices, Clip, Model, chessboard, count
from cosnet_jax.commands.app_upload import Limits
from cosnet_jax.errors import InputError
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.video.reader import open_video
from cosnet_jax.visualization.cutouts import alpha_of, lay_over
from cosnet_jax.visualization.overlays import overlay

CHOICES = Choices(False, "", 0.0, 0.0, 2, "consecutive")


@pytest.fixture(scope="module")
def model(checkpoint):
    return Model(*load_checkpoint(checkpoint))


@pytest.fixture
def source(tmp_path, frames):
    return encode(tmp_path / "source.mkv", list(frames))


@pytest.fixture
def clip(source, tmp_path):
    return Clip(source, tmp_path / "clips", Limits())


def assert_alike(picture, expected):
    """Asserts that a compressed picture shows another one: noise of single pixels does not survive in it."""
    assert picture.shape == expected.shape
    assert abs(cv2.blur(picture, (5, 5)).astype(float) - cv2.blur(expected, (5, 5))).mean() < 8


def test_results_are_those_of_the_segmenter(clip, model, checkpoint, source):
    assert clip.describe() == "source.mkv: 6 frames, 64 x 48, 0.2 s"
    assert list(clip.segment(model, CHOICES)) == [1, 2, 3, 4, 5, 6]
    frames = np.stack(list(open_video(source)))
    segmenter = Segmenter.from_pretrained(checkpoint, num_references=2, sampling="consecutive", temporal_smoothing=0)
    maps = segmenter(frames)
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
    expected = {
        "Original": frames[4],
        "Mask": np.repeat(255 * (maps[4] > 0.5)[..., None], 3, axis=2).astype(np.uint8),
        "Cut-out": lay_over(frames[4], alpha_of(maps[4]), chessboard((48, 64))),
        "Overlay": overlay(frames[4], maps[4] > 0.5),
    }
    assert expected.keys() == VIEWS.keys()
    for view, name in VIEWS.items():
        assert_alike(open_video(clip.file(name)).read([4])[0], expected[view])


@pytest.mark.parametrize(
    ("background", "name"), [("", "cutout.webm"), ("blur", "cutout.mp4"), ("#00b140", "cutout.mp4")]
)
def test_backgrounds_and_sharpened_edges(clip, model, background, name):
    choices = dataclasses.replace(CHOICES, sharpen=background == "blur", background=background, feather=2.0)
    list(clip.segment(model, choices))
    assert clip.downloads()[1].name == name and clip.downloads()[1].is_file()
    corner = open_video(clip.file(VIEWS["Cut-out"])).read([0])[0][:4, -4:].reshape(-1, 3).mean(0)
    if background.startswith("#") and open_video(clip.file(VIEWS["Mask"])).read([0])[0][:8, -8:].max() < 50:
        np.testing.assert_allclose(corner, (0, 0xB1, 0x40), atol=12)


def test_a_clicked_place_is_answered_by_its_references(clip, model):
    list(clip.segment(model, CHOICES))
    assert_alike(clip.picture(9), clip.picture(5))  # the slider of a clip of one frame ends at 1
    pictures, captions = zip(*clip.answers(3, (20, 40)), strict=True)
    assert captions == ("frame 3, clicked", "frame 2", "frame 4")
    assert [picture.shape for picture in pictures] == 3 * [(48, 64, 3)]
    red = pictures[0][40, 20].astype(int)
    assert red[0] > 2 * red[1]  # the cross
    list(clip.segment(model, dataclasses.replace(CHOICES, num_references=0)))
    with pytest.raises(InputError, match="Choose N = 1 or more"):
        clip.answers(0, (3, 3))


def test_a_second_segmentation_replaces_the_first(clip, model):
    with pytest.raises(InputError, match=r"not segmented yet\. Choose Segment"):
        clip.downloads()
    list(clip.segment(model, CHOICES))
    before = clip.file("")
    list(clip.segment(model, CHOICES))
    assert clip.file("") != before and not before.exists()  # browsers keep what had the same name


def test_a_segmentation_can_be_cancelled_and_repeated(clip, model):
    done = clip.segment(model, CHOICES)
    assert next(done) == 1
    clip.stopped = True
    with pytest.raises(InputError, match="stopped"):
        list(done)
    with pytest.raises(InputError, match="not segmented"):
        clip.downloads()
    assert list(clip.segment(model, CHOICES))[-1] == 6


def test_what_is_refused_leaves_nothing(clip, model, tmp_path):
    with pytest.raises(InputError, match="N is 11; this page takes at most 10"):
        next(clip.segment(model, dataclasses.replace(CHOICES, num_references=11)))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"^text.mp4: not a readable video") as error:
        Clip(tmp_path / "text.mp4", tmp_path / "clips", Limits())
    assert str(tmp_path) not in str(error.value)
    (folder,) = (tmp_path / "clips").iterdir()  # of the other clip
    assert len(folder.name) == 32  # 128 random bits
    clip.remove()
    assert os.listdir(tmp_path / "clips") == []


def test_numbers_of_things():
    assert [count(number, "frame") for number in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]
