"""A visitor's clip: its results against the segmenter's maps, what is kept of it, and what is refused."""

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
from cosnet_jax.commands.app_clip import Choices, Clip, Model
from cosnet_jax.commands.app_upload import Limits
from cosnet_jax.errors import InputError
from cosnet_jax.inference.keep_object import keep_object
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.video.reader import open_video
from cosnet_jax.visualization.cutouts import alpha_of

CHOICES = Choices(None, False, "", 0.0, 0.0)


@pytest.fixture(scope="module")
def model(checkpoint):
    return Model(*load_checkpoint(checkpoint))


@pytest.fixture
def clip(frames, tmp_path):
    return Clip(encode(tmp_path / "source.mkv", list(frames)), tmp_path / "clips", Limits())


def assert_masks(clip, maps):
    with zipfile.ZipFile(clip.results["Masks"]) as archive:
        assert archive.namelist() == [f"masks/{number:05d}.png" for number in range(6)]
        for name, probability in zip(archive.namelist(), maps, strict=True):
            mask = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(mask, 255 * (probability > 0.5))


def test_results_are_those_of_the_segmenter(clip, model, checkpoint):
    assert clip.describe() == "source.mkv: 6 frames, 64 x 48, 0.2 s"
    assert list(clip.segment(model, CHOICES)) == [1, 2, 3, 4, 5, 6]
    maps = Segmenter.from_pretrained(checkpoint, temporal_smoothing=0)(np.stack(list(clip.video)))
    assert_masks(clip, maps)
    alphas = decoded_with_alpha(clip.results["Cut-out"])[0][..., 3]
    assert abs(alphas - 255 * np.stack([alpha_of(probability) for probability in maps])).mean() < 8
    with av.open(str(clip.results["Overlay"])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
    assert clip.picture(9).shape == (48, 64, 3)  # the slider of a clip of one frame ends at 1

    y, x = np.unravel_index(maps[3].argmax(), maps[3].shape)
    first = clip.results["Masks"]
    list(clip.segment(model, dataclasses.replace(CHOICES, keep=(int(x), int(y), 3))))
    assert_masks(clip, list(keep_object(iter(maps), int(x), int(y), 3)))
    assert not first.exists() and clip.results["Masks"].parent != first.parent  # browsers keep what had the same name


@pytest.mark.parametrize(
    ("background", "name"), [("", "cutout.webm"), ("blur", "cutout.mp4"), ("#00b140", "cutout.mp4")]
)
def test_backgrounds_and_sharpened_edges(clip, model, background, name):
    list(clip.segment(model, dataclasses.replace(CHOICES, sharpen=True, background=background, feather=2.0)))
    assert clip.results["Cut-out"].name == name and len(open_video(clip.results["Cut-out"])) == 6


def test_what_ends_early_leaves_the_earlier_results(clip, model):
    list(clip.segment(model, CHOICES))
    before = clip.results
    done = clip.segment(model, CHOICES)
    assert next(done) == 1
    clip.stopped = True
    with pytest.raises(InputError, match="stopped"):
        list(done)
    assert clip.results == before and all(path.exists() for path in before.values())
    assert list(clip.segment(model, CHOICES))[-1] == 6


def test_what_is_refused_leaves_nothing(clip, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"^text.mp4: not a readable video") as error:
        Clip(tmp_path / "text.mp4", tmp_path / "clips", Limits())
    assert str(tmp_path) not in str(error.value)
    (folder,) = (tmp_path / "clips").iterdir()  # of the other clip
    assert len(folder.name) == 32  # 128 random bits
    clip.remove()
    assert os.listdir(tmp_path / "clips") == []
