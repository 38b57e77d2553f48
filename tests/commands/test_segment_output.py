"""What is written of a video: masks, probabilities, overlays, and cut-outs as a video editor decodes them."""

from __future__ import annotations

import json
import os

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from video_files import beeps_of, decoded_with_alpha, encode, encode_with_beeps, make_frames

from cosnet_jax import cli
from cosnet_jax.commands.segment_output import ResultWriter, make_outputs
from cosnet_jax.errors import InputError
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.video.reader import open_video
from cosnet_jax.visualization.cutouts import alpha_of
from cosnet_jax.visualization.overlays import overlay

VIDEOS = [("webm", "cutout.webm"), ("prores", "cutout.mov")]


def moving_square(count, height=48, width=66):
    """Probability maps: 0.9 in a square that moves, 0.1 around it."""
    maps = np.full((count, height, width), 0.1, np.float32)
    for number, probability in enumerate(maps):
        probability[12:36, 4 + 5 * number : 28 + 5 * number] = 0.9
    return maps


def write(folder, source, maps, references=(), save_overlay=False, **options):
    """Writes the outputs of a video; returns the path of the last one."""
    outputs, video = make_outputs(save_overlay=save_overlay, **options), open_video(source)
    with ResultWriter(folder, video, outputs, references) as writer:
        for image, probability in zip(video, maps, strict=True):
            writer.write(image, probability)
    return folder / outputs[-1].name


def test_masks_overlay_and_contact_sheet(tmp_path, folder, frames):
    maps = moving_square(6, 48, 64) * np.linspace(0.8, 1, 64, dtype=np.float32)
    write(tmp_path / "out", folder, maps, references=[1, 3], save_overlay=True, threshold=0.8)
    assert sorted(os.listdir(tmp_path / "out")) == ["contact_sheet.png", "masks", "overlay.mp4"]
    played = open_video(tmp_path / "out" / "overlay.mp4")
    for number, (image, map_, shown) in enumerate(zip(frames, maps, played, strict=True), 8):
        with Image.open(tmp_path / "out" / "masks" / f"frame{number}.png") as mask:
            assert mask.mode == "L"
            np.testing.assert_array_equal(np.asarray(mask), np.where(map_ > 0.8, 255, 0))
        assert abs(shown.astype(int) - overlay(image, map_ > 0.8)).mean() < 16  # H.264's loss
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.size == (10 + 4 * 394, 10 + 22 + 2 * (288 + 22 + 10))  # four columns of tiles 384 x 288


def test_probabilities_keep_16_bits_and_the_side_of_one_half(tmp_path, folder):
    maps = np.random.default_rng(0).random((6, 48, 64), np.float32)
    maps[0, 0, :3] = 0.5, np.nextafter(np.float32(0.5), np.float32(1)), np.nextafter(np.float32(0.5), np.float32(0))
    maps[0, 1, :2] = 0, 1
    path = write(tmp_path / "out", folder, maps, save_probabilities=True)
    for number, probability in enumerate(maps, 8):
        with Image.open(path / f"frame{number}.png") as image:
            levels = np.asarray(image)
        assert levels.dtype == np.uint16
        np.testing.assert_allclose(levels / 65535, probability, atol=0.51 / 65535)
        np.testing.assert_array_equal(levels > 32767, probability > 0.5)


def test_an_interruption_keeps_the_masks_made_so_far_and_nothing_half(tmp_path):
    video = open_video(encode_with_beeps(tmp_path / "a.mp4", make_frames(3)))
    outputs = make_outputs(save_probabilities=True, cutout="webm", background="white")
    with pytest.raises(KeyboardInterrupt), ResultWriter(tmp_path / "out", video, outputs) as writer:
        writer.write(make_frames(1)[0], np.ones((48, 66), np.float32))
        raise KeyboardInterrupt
    files = [name for _, _, names in os.walk(tmp_path / "out") for name in names]
    assert files == ["00000.png", "00000.png"]


@pytest.mark.parametrize(
    ("kind", "name", "size"), [(*VIDEOS[0], (47, 63)), (*VIDEOS[1], (47, 63)), (*VIDEOS[0], (48, 66))]
)
def test_alpha_is_the_mask_and_colours_are_the_frames(tmp_path, kind, name, size):
    source, maps = encode(tmp_path / "a.mkv", make_frames(7, *size)), moving_square(7, *size)
    path = write(tmp_path / "out", source, maps, cutout=kind)
    assert path == tmp_path / "out" / name
    pictures, times = decoded_with_alpha(path)
    masks = maps > 0.5
    assert pictures.shape == (7, *size, 4)
    # ProRes stores alpha without loss. libvpx loses a few levels, at the edge of the square more.
    error = abs(pictures[..., 3].astype(int) - 255 * masks)
    assert error.max() <= (0 if kind == "prores" else 8) and error.mean() < 1
    assert ((pictures[..., 3] > 127) == masks).all()
    lost = abs(pictures[..., :3].astype(int) - make_frames(7, *size))[masks]
    assert lost.mean() < (3 if kind == "prores" else 8)
    np.testing.assert_allclose(times, np.arange(7) / 25, atol=1e-6 if kind == "prores" else 5.1e-4)  # milliseconds
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (1, 1)  # BT.709, limited


@pytest.mark.parametrize("feather", [0.0, 3.0])
def test_png_images_hold_alpha_and_straight_colours_exactly(tmp_path, feather):
    source, maps = encode(tmp_path / "a.mkv", make_frames(3)), moving_square(3)
    path = write(tmp_path / "out", source, maps, cutout="png", feather=feather)
    assert sorted(os.listdir(path)) == ["00000.png", "00001.png", "00002.png"]
    for number, (image, probability) in enumerate(zip(make_frames(3), maps, strict=True)):
        with Image.open(path / f"0000{number}.png") as picture:
            assert picture.mode == "RGBA"
            found = np.asarray(picture)
        alpha = alpha_of(probability, feather=feather)
        np.testing.assert_array_equal(found[..., 3], np.rint(255 * alpha))
        np.testing.assert_array_equal(found[alpha == 1][:, :3], image[alpha == 1])
        assert ((alpha > 0.1) & (alpha < 0.9)).any() == bool(feather)


@pytest.mark.parametrize(
    ("background", "expected"), [("white", (255, 255, 255)), ("#1e90fF", (30, 144, 255)), ("sky.png", (90, 140, 220))]
)
def test_the_object_is_shown_over_a_background(tmp_path, monkeypatch, background, expected):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (300, 70), (90, 140, 220)).save("sky.png")
    source, maps = encode(tmp_path / "a.mkv", make_frames(4)), moving_square(4)
    path = write(tmp_path / "out", source, maps, background=background)
    assert path.name == "cutout.mp4"
    shown = np.stack(list(open_video(path))).astype(int)
    away = cv2.erode(np.moveaxis(maps < 0.5, 0, -1).astype(np.uint8), np.ones((9, 9)))  # H.264 smears the edge
    assert abs(shown[np.moveaxis(away, -1, 0) == 1] - expected).mean() < 4
    assert abs(shown - make_frames(4))[maps > 0.5].mean() < 8


def test_a_blurred_background_is_the_frames_own(tmp_path):
    frames = [np.where(np.indices((48, 66)).sum(0)[..., None] % 2, 80, 160).astype(np.uint8) * np.ones(3, np.uint8)] * 2
    for frame in frames:
        frame[12:36, 4:28] = 250
    source, maps = encode(tmp_path / "a.mkv", frames), np.stack([moving_square(1)[0]] * 2)
    (shown, _) = open_video(write(tmp_path / "out", source, maps, background="blur"))
    outside = shown[:, 34:].astype(int)
    assert outside.std() < 8 and abs(outside.mean() - 120) < 6  # a halo of the square would be brighter
    assert shown[16:32, 8:24].mean() > 240


@pytest.mark.parametrize("options", [{"cutout": "webm"}, {"background": "white"}])
def test_times_of_a_variable_rate_and_sound_are_kept(tmp_path, options):
    times = [0, 40, 80, 500, 540, 1000]
    source = encode(tmp_path / "varies.mkv", make_frames(6), times=times)
    path = write(tmp_path / "out", source, moving_square(6), **options)
    np.testing.assert_allclose(decoded_with_alpha(path)[1], np.array(times) / 1000, atol=1e-3)
    source = encode_with_beeps(tmp_path / "beeps.mp4", make_frames(9))
    path = write(tmp_path / "out", source, moving_square(9), **options)
    np.testing.assert_allclose(beeps_of(path), beeps_of(source), atol=6e-3)


def test_the_command_writes_what_is_asked_for_and_says_so_in_its_record(checkpoint, folder, frames, tmp_path):
    arguments = ["--output", str(tmp_path / "out"), "--checkpoint", str(checkpoint), "--save-probabilities"]
    cli.main(["segment", str(folder), *arguments, "--cutout", "--feather", "1.5", "--threshold", "0.45"])
    outputs = ["cutout.webm", "masks", "overlay.mp4", "probabilities"]
    assert sorted(os.listdir(tmp_path / "out")) == ["contact_sheet.png", *outputs[:3], outputs[3], "result.json"]
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert sorted(record["outputs"]) == outputs and record["outputs"]["cutout.webm"] == 1.5
    pictures, _ = decoded_with_alpha(tmp_path / "out" / "cutout.webm")
    for picture, probability in zip(pictures, Segmenter.from_pretrained(checkpoint)(frames), strict=True):
        assert abs(picture[..., 3] - 255 * alpha_of(probability, 0.45, 1.5)).mean() < 4


def test_wrong_options_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    for options, message in (
        ({"cutout": "gif"}, "--cutout is 'gif'; expected one of webm, prores, png"),
        ({"background": "#12345"}, "--background is '#12345'; expected white, black, '#rrggbb', blur or an image file"),
        ({"background": "sky.png"}, "--background is 'sky.png'; expected"),
        ({"background": "broken.png"}, "broken.png: not a readable image"),
        ({"cutout": "webm", "feather": -1}, "--feather is -1; expected 0 to 100 pixels"),
        ({"feather": 2}, "--feather softens the edge of a cut-out; it needs --cutout or --background"),
    ):
        with pytest.raises(InputError) as error:
            make_outputs(**options)
        assert str(error.value).startswith(message)
