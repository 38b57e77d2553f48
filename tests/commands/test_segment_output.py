"""Writing results: the files, their contents, and what an interruption leaves."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from cosnet_jax.commands.segment_cutout import make_cutouts
from cosnet_jax.commands.segment_output import Outputs, ResultWriter
from cosnet_jax.errors import InputError
from cosnet_jax.video.reader import open_video
from cosnet_jax.visualization.overlays import overlay

DEFAULT = Outputs()


@pytest.fixture
def video(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(5):
        Image.new("RGB", (64, 48), (20 * number, 90, 160)).save(folder / f"frame{number + 7}.png")
    return open_video(folder)


@pytest.fixture
def probabilities():
    ramp = np.linspace(0, 1, 64, dtype=np.float32) * np.ones((48, 1), np.float32)
    return [np.roll(ramp, 5 * number, axis=1) for number in range(5)]


def write(folder, video, probabilities, outputs=DEFAULT, **options):
    with ResultWriter(folder, video, outputs, **options) as writer:
        for image, probability in zip(video, probabilities, strict=True):
            writer.write(image, probability)


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_masks_are_named_after_the_frames_and_hold_0_and_255(tmp_path, video, probabilities, threshold):
    write(tmp_path / "deep" / "out", video, probabilities, threshold=threshold)
    masks = tmp_path / "deep" / "out" / "masks"
    assert sorted(os.listdir(masks)) == sorted(f"frame{number}.png" for number in range(7, 12))
    for name, probability in zip(video.frame_names, probabilities, strict=True):
        with Image.open(masks / f"{name}.png") as image:
            assert image.mode == "L"
            np.testing.assert_array_equal(np.asarray(image), np.where(probability > threshold, 255, 0))


def test_overlay_and_contact_sheet_are_written_and_can_be_left_out(tmp_path, video, probabilities):
    write(tmp_path / "out", video, probabilities, references=[1, 3])
    assert sorted(os.listdir(tmp_path / "out")) == ["contact_sheet.png", "masks", "overlay.mp4"]
    played = list(open_video(tmp_path / "out" / "overlay.mp4"))
    for image, probability, shown in zip(video, probabilities, played, strict=True):
        expected = overlay(image, probability > 0.5)
        assert abs(shown.astype(int) - expected).mean() < 12 < abs(image.astype(int) - expected).mean()  # H.264's loss
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.size == (10 + 4 * 394, 10 + 22 + 2 * (288 + 22 + 10))  # four columns of tiles 384 x 288
    write(tmp_path / "bare", video, probabilities, Outputs(overlay=False))
    assert sorted(os.listdir(tmp_path / "bare")) == ["contact_sheet.png", "masks"]


def test_probabilities_keep_16_bits_and_the_side_of_one_half(tmp_path, video):
    rng = np.random.default_rng(0)
    maps = [rng.random((48, 64), np.float32) for _ in range(5)]
    maps[0][0, :3] = 0.5, np.nextafter(np.float32(0.5), np.float32(1)), np.nextafter(np.float32(0.5), np.float32(0))
    maps[0][1, :2] = 0, 1
    write(tmp_path / "out", video, maps, Outputs(probabilities=True))
    for name, probability in zip(video.frame_names, maps, strict=True):
        with Image.open(tmp_path / "out" / "probabilities" / f"{name}.png") as image:
            levels = np.asarray(image)
        assert levels.dtype == np.uint16
        np.testing.assert_allclose(levels / 65535, probability, atol=0.51 / 65535)
        np.testing.assert_array_equal(levels > 32767, probability > 0.5)


def test_an_interruption_keeps_the_masks_made_so_far_and_nothing_half(tmp_path, video, probabilities):
    outputs = Outputs(probabilities=True, coco=True, cutouts=make_cutouts("webm", None, 0))
    with pytest.raises(KeyboardInterrupt), ResultWriter(tmp_path / "out", video, outputs) as writer:
        writer.write(next(iter(video)), probabilities[0])
        raise KeyboardInterrupt
    files = [name for _, _, names in os.walk(tmp_path / "out") for name in names]
    assert files == ["frame7.png", "frame7.png"]


def test_a_folder_that_cannot_be_written_to_is_said_at_once(tmp_path, video):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "masks").write_text("in the way")
    with pytest.raises(InputError, match="masks: cannot be written to"):
        ResultWriter(tmp_path / "out", video, Outputs())
