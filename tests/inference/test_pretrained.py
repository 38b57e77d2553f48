"""The trained model in the package: it is there, it finds the person of the sample clip, and is what commands take."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import cosnet_jax
from configs import davis16_lite
from cosnet_jax import cli
from cosnet_jax.checkpoints.load import SHIPPED_FILES, SHIPPED_MODEL, load_checkpoint
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.models.build import ModelConfig
from cosnet_jax.video.sample_clip import sample_clip

MIB = 2**20


@pytest.fixture(scope="module")
def clip():
    return sample_clip(num_frames=3)


@pytest.fixture(scope="module")
def maps(clip):
    return cosnet_jax.Segmenter.from_pretrained(num_references=2)(clip.frames)


def test_the_file_is_small_and_of_the_committed_configuration():
    assert SHIPPED_FILES[SHIPPED_MODEL].stat().st_size < 12 * MIB
    _, config = load_checkpoint(SHIPPED_MODEL)
    committed = davis16_lite.get_config()
    assert ModelConfig.read(config.model) == ModelConfig.read(committed.model)
    assert InferenceConfig.read(config.inference) == InferenceConfig.read(committed.inference)


def test_the_person_is_found_and_the_background_is_not(clip, maps):
    assert list(clip.visited) == [False, True, False]
    assert all(jaccard(maps[k] > 0.5, clip.masks[k]) > 0.85 for k in (0, 2))
    assert (maps[1] > 0.5)[clip.masks[1]].mean() > 0.85


def test_the_command_takes_the_shipped_model(clip, maps, tmp_path):
    (tmp_path / "clip").mkdir()
    for i, frame in enumerate(clip.frames):
        cv2.imwrite(str(tmp_path / f"clip/{i}.png"), frame[..., ::-1])
    arguments = ["--output", str(tmp_path / "out"), "--num-references", "2", "--no-overlay"]
    assert cli.main(["segment", str(tmp_path / "clip"), *arguments]) == 0
    for i, probability in enumerate(maps):
        mask = cv2.imread(str(tmp_path / f"out/masks/{i}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, np.where(probability > 0.5, 255, 0))
