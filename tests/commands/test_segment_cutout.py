"""Cut-outs: what a video editor decodes from them, options that contradict each other, runs one after another."""

from __future__ import annotations

import json
import os

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from video_files import beeps_of, decoded_with_alpha, encode, encode_with_beeps, make_frames, turn

from cosnet_jax import cli
from cosnet_jax.commands.segment import segment
from cosnet_jax.commands.segment_cutout import CutoutWriter, make_cutouts
from cosnet_jax.errors import InputError
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.video.reader import open_video
from cosnet_jax.visualization.cutouts import alpha_of

SIZES = [(48, 66), (47, 63)]
VIDEOS = [("webm", "cutout.webm"), ("prores", "cutout.mov")]


def moving_square(count, height, width):
    """Probability maps: 0.9 in a square that moves, 0.1 around it."""
    maps = np.full((count, height, width), 0.1, np.float32)
    for number, probability in enumerate(maps):
        probability[12:36, 4 + 5 * number : 28 + 5 * number] = 0.9
    return maps


def write(folder, source, maps, cutout=None, background=None, feather=0.0, threshold=0.5):
    """Writes the cut-out of a video file; returns its path."""
    folder.mkdir(exist_ok=True)
    (kind,), video = make_cutouts(cutout, background, feather), open_video(source)
    with CutoutWriter(folder, video, kind, threshold) as writer:
        for image, probability in zip(video, maps, strict=True):
            writer.write(image, probability)
    return folder / kind.name


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("kind", "name"), VIDEOS)
def test_alpha_is_the_mask_and_colours_are_the_frames(tmp_path, kind, name, height, width):
    source, maps = encode(tmp_path / "a.mkv", make_frames(7, height, width)), moving_square(7, height, width)
    path = write(tmp_path / "out", source, maps, kind)
    assert path == tmp_path / "out" / name and os.listdir(path.parent) == [name]
    pictures, times = decoded_with_alpha(path)
    masks = maps > 0.5
    assert pictures.shape == (7, height, width, 4)
    # ProRes stores alpha without loss. libvpx loses a few levels, at the edge of the square more.
    error = abs(pictures[..., 3].astype(int) - 255 * masks)
    assert error.max() <= (0 if kind == "prores" else 8) and error.mean() < 1
    assert ((pictures[..., 3] > 127) == masks).all()
    lost = abs(pictures[..., :3].astype(int) - make_frames(7, height, width))[masks]
    assert lost.mean() < (3 if kind == "prores" else 8)
    np.testing.assert_allclose(times, np.arange(7) / 25, atol=1e-6 if kind == "prores" else 5.1e-4)  # milliseconds
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (1, 1)  # BT.709, limited


@pytest.mark.parametrize("feather", [0.0, 3.0])
def test_png_images_hold_alpha_and_straight_colours_exactly(tmp_path, feather):
    source, maps = encode(tmp_path / "a.mkv", make_frames(3)), moving_square(3, 48, 66)
    path = write(tmp_path / "out", source, maps, "png", feather=feather)
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
    ("background", "expected"),
    [("white", (255, 255, 255)), ("black", (0, 0, 0)), ("#1e90fF", (30, 144, 255)), ("sky.png", (90, 140, 220))],
)
def test_the_object_is_shown_over_a_background(tmp_path, monkeypatch, background, expected):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (300, 70), (90, 140, 220)).save("sky.png")
    source, maps = encode(tmp_path / "a.mkv", make_frames(4)), moving_square(4, 48, 66)
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
    source, maps = encode(tmp_path / "a.mkv", frames), np.stack([moving_square(1, 48, 66)[0]] * 2)
    (shown, _) = open_video(write(tmp_path / "out", source, maps, background="blur"))
    outside = shown[:, 34:].astype(int)
    assert outside.std() < 8 and abs(outside.mean() - 120) < 6  # a halo of the square would be brighter
    assert shown[16:32, 8:24].mean() > 240


@pytest.mark.parametrize(
    ("options", "name"), [({"cutout": "webm"}, "cutout.webm"), ({"background": "white"}, "cutout.mp4")]
)
def test_times_of_a_variable_rate_and_sound_are_kept(tmp_path, options, name):
    times = [0, 40, 80, 500, 540, 1000]
    source = encode(tmp_path / "varies.mkv", make_frames(6), times=times)
    path = write(tmp_path / "out", source, moving_square(6, 48, 66), **options)
    np.testing.assert_allclose(decoded_with_alpha(path)[1], np.array(times) / 1000, atol=1e-3)
    source = encode_with_beeps(tmp_path / "beeps.mp4", make_frames(6))
    path = write(tmp_path / "out", source, moving_square(6, 48, 66), **options)
    assert path.name == name
    np.testing.assert_allclose(beeps_of(path), beeps_of(source), atol=6e-3)


@pytest.mark.parametrize("options", [{"cutout": "webm"}, {"cutout": "png"}, {"background": "black"}])
def test_a_turned_clip_stands_upright(tmp_path, options):
    source = turn(encode_with_beeps(tmp_path / "phone.mp4", make_frames(3)))
    video = open_video(source)
    assert video.size == (66, 48)
    path = write(tmp_path / "out", source, np.ones((3, 66, 48), np.float32), **options)
    shown = open_video(path)
    assert shown.size == (66, 48)
    for image, expected in zip(shown, video, strict=True):
        assert abs(image.astype(int) - expected).mean() < 8


def test_the_command_writes_what_is_asked_for_and_says_so_in_its_record(checkpoint, folder, frames, tmp_path):
    arguments = ["--output", str(tmp_path / "out"), "--checkpoint", str(checkpoint), "--save-probabilities"]
    cli.main(["segment", str(folder), *arguments, "--cutout", "--feather", "1.5", "--threshold", "0.45"])
    assert sorted(os.listdir(tmp_path / "out")) == sorted(
        ["contact_sheet.png", "cutout.webm", "masks", "overlay.mp4", "probabilities", "result.json"]
    )
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["outputs"]["cutout.webm"] == {"background": None, "feather": 1.5}
    pictures, _ = decoded_with_alpha(tmp_path / "out" / "cutout.webm")
    for picture, probability in zip(pictures, Segmenter.from_pretrained(checkpoint)(frames), strict=True):
        assert abs(picture[..., 3] - 255 * alpha_of(probability, 0.45, 1.5)).mean() < 4


@pytest.mark.slow
def test_results_of_the_same_masks_stay_and_others_are_removed_and_named(checkpoint, folder, tmp_path, capsys):
    picture, output = tmp_path / "sky.png", tmp_path / "out"
    Image.new("RGB", (32, 32), (90, 140, 220)).save(picture)

    def made(**options):
        (outcome,) = segment([folder], output, checkpoint, save_overlay=False, **options)
        names = sorted(set(os.listdir(output)) - {"contact_sheet.png", "masks", "result.json"})
        return outcome.status, names, capsys.readouterr().out

    for options, names in (
        ({"cutout": "png", "save_coco": True}, ["coco.json", "cutout"]),
        ({"cutout": "webm", "background": "blur"}, ["coco.json", "cutout", "cutout.mp4", "cutout.webm"]),
        ({"background": str(picture)}, ["coco.json", "cutout", "cutout.mp4", "cutout.webm"]),
    ):
        assert made(**options) == ("done", names, "")
        assert made(**options) == ("found", names, "")
    assert made(cutout="webm") == ("found", names, "")
    Image.new("RGB", (32, 32), (90, 140, 221)).save(picture)
    assert made(background=str(picture))[0] == "done"
    (output / "cutout.mp4").unlink()
    assert made(background=str(picture))[:2] == ("done", names)
    (output / "cutout" / "notes.txt").touch()  # a user's own
    (output / ".cutout.webm.7.part").touch()  # of a process that was killed
    status, left, printed = made(threshold=0.4, cutout="webm")
    assert (status, left, os.listdir(output / "cutout")) == ("done", ["cutout", "cutout.webm"], ["notes.txt"])
    message = "removed; an earlier run made it of other masks"
    assert printed == "".join(f"{output / name}: {message}\n" for name in ("cutout", "coco.json", "cutout.mp4"))


def test_wrong_options_are_said_before_any_work(checkpoint, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").touch()
    for options, message in (
        ({"cutout": "gif"}, "--cutout is 'gif'; expected one of webm, prores, png"),
        ({"background": "whit"}, "--background is 'whit'; expected white, black, '#rrggbb', blur or an image file"),
        ({"background": "#12345"}, "--background is '#12345'; expected white"),
        ({"background": "sky.png"}, "--background is 'sky.png'; expected"),
        ({"background": "broken.png"}, "broken.png: not a readable image"),
        ({"background": "notes.txt"}, "--background is 'notes.txt'; expected"),
        ({"cutout": "webm", "feather": -1}, "--feather is -1; expected 0 to 100 pixels"),
        ({"feather": 2}, "--feather softens the edge of a cut-out; it needs --cutout or --background"),
    ):
        with pytest.raises(InputError) as error:
            segment([folder], tmp_path / "out", checkpoint, **options)
        assert str(error.value).startswith(message)
    assert not (tmp_path / "out").exists()


def test_a_cut_out_is_never_written_over_an_input(checkpoint, folder, tmp_path):
    folder.rename(tmp_path / "cutout")
    film = encode(tmp_path / "cutout.mp4", make_frames(2), "libx264", "yuv420p")
    for given in (film, tmp_path / "cutout"):
        with pytest.raises(InputError, match="results would be written over this input"):
            segment([given], tmp_path, checkpoint, background="white")


def test_an_interruption_leaves_no_half_video(tmp_path):
    source = encode_with_beeps(tmp_path / "a.mp4", make_frames(3))
    with (
        pytest.raises(KeyboardInterrupt),
        CutoutWriter(tmp_path, open_video(source), make_cutouts("webm", None, 0)[0], 0.5) as writer,
    ):
        writer.write(make_frames(1)[0], np.ones((48, 66), np.float32))
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["a.mp4"]
