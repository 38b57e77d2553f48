"""The trained model in the package: it is there, it finds a person in a photograph, and commands take it by default."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import cosnet_jax
import evaluate
from configs import davis16_lite
from cosnet_jax import cli
from cosnet_jax.checkpoints.store import SHIPPED_FILES, SHIPPED_MODEL, load_checkpoint
from cosnet_jax.config import changed_settings
from cosnet_jax.video.photograph import photograph_clip

MIB = 2**20


@pytest.fixture(scope="module")
def clip():
    return photograph_clip(num_frames=3)


@pytest.fixture(scope="module")
def maps(clip):
    return cosnet_jax.Segmenter.pretrained(num_references=2)(clip)


def test_the_file_is_small_and_of_the_committed_configuration():
    assert SHIPPED_FILES[SHIPPED_MODEL].stat().st_size < 12 * MIB
    _, config = load_checkpoint(SHIPPED_MODEL)
    assert changed_settings(config.model, davis16_lite.get_config().model) == {}


def test_the_clip_moves_over_the_photograph(clip):
    assert clip.shape == (3, 400, 480, 3) and clip.dtype == np.uint8
    assert all(np.abs(clip[i].astype(int) - clip[i + 1]).mean() > 5 for i in range(2))


def test_the_person_is_found_and_the_background_is_not(maps):
    height, width = maps.shape[1:]
    face = maps[:, int(0.4 * height) : int(0.6 * height), int(0.45 * width) : int(0.55 * width)]
    wall = maps[:, : int(0.3 * height), int(0.9 * width) :]
    assert face.mean() > 0.8 and wall.mean() < 0.2


def test_the_command_takes_the_shipped_model(clip, maps, tmp_path):
    (tmp_path / "clip").mkdir()
    for i, frame in enumerate(clip):
        cv2.imwrite(str(tmp_path / f"clip/{i}.png"), frame[..., ::-1])
    arguments = ["--output", str(tmp_path / "out"), "--num-references", "2", "--no-overlay"]
    assert cli.main(["segment", str(tmp_path / "clip"), *arguments]) == 0
    for i, probability in enumerate(maps):
        mask = cv2.imread(str(tmp_path / f"out/masks/{i}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, np.where(probability > 0.5, 255, 0))


def test_the_report_of_the_demo_shows_it():
    section = evaluate.sample_section(num_frames=2)
    text, pictures = section.blocks
    assert "model in the package" in text and len(pictures) == 2
    tinted = np.abs(pictures[0].pixels.astype(int) - photograph_clip(2)[0]).max(axis=-1) > 10
    assert 0.1 < tinted.mean() < 0.9
