"""The command `segment`: files in, files out, and what it says when something is wrong."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from cosnet_jax import cli
from cosnet_jax.commands.segment import segment
from cosnet_jax.commands.segment_video import SegmentSettings, VideoProcessor, common_references, read_record
from cosnet_jax.errors import InputError
from cosnet_jax.inference import crf
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.video.find import RECORD, find_videos
from cosnet_jax.video.reader import open_video
from cosnet_jax.video.writer import VideoWriter

MASKS = [f"masks/frame{number}.png" for number in range(8, 14)]


def write_video(path, frames):
    with VideoWriter(path, frames.shape[1:3], 24) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def files(folder):
    """Every file below a folder, by relative name."""
    return sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names)


def folders_of(*arguments, **options):
    return [outcome.output for outcome in segment(*arguments, **options)]


def probabilities_in(folder):
    return [read(folder / "probabilities" / f"frame{number}.png") / 65535 for number in range(8, 14)]


def test_masks_are_the_segmenters_and_all_is_written(checkpoint, folder, frames, tmp_path, capsys):
    output = tmp_path / "deep" / "out"
    arguments = ["--output", str(output), "--checkpoint", str(checkpoint), "--num-references", "2"]
    assert cli.main(["segment", str(folder), *arguments, "--save-probabilities", "--threshold", "0.4"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{output}\n"
    assert re.match(r"device: .*cpu.*\nclip: done in ", printed.err)
    expected = Segmenter.from_pretrained(checkpoint, num_references=2)(frames)
    probabilities = [name.replace("masks", "probabilities") for name in MASKS]
    assert files(output) == sorted(["contact_sheet.png", "overlay.mp4", "result.json", *MASKS, *probabilities])
    for name, probability in zip(MASKS, expected, strict=True):
        np.testing.assert_array_equal(read(output / name), np.where(probability > 0.4, 255, 0))
    np.testing.assert_allclose(probabilities_in(output), expected, atol=1e-5)
    assert len(open_video(output / "overlay.mp4")) == 6


def test_settings_reach_the_engine(checkpoint, folder, frames, tmp_path):
    given = ["--size", "40", "32", "--num-references", "3", "--sampling", "consecutive", "--fusion", "prediction"]
    arguments = ["--output", str(tmp_path / "out"), "--checkpoint", str(checkpoint), *given, "--smooth", "1.5"]
    cli.main(["segment", str(folder), *arguments, "--no-overlay", "--save-probabilities"])
    assert not (tmp_path / "out" / "overlay.mp4").exists()
    settings = {"size": (40, 32), "sampling": "consecutive", "fusion": "prediction", "temporal_smoothing": 1.5}
    expected = Segmenter.from_pretrained(checkpoint, num_references=3, **settings)(frames)
    np.testing.assert_allclose(probabilities_in(tmp_path / "out"), expected, atol=1e-5)


def test_the_crf_refines_what_the_network_says(checkpoint, folder, frames, tmp_path):
    segment([folder], tmp_path / "out", checkpoint, refine=True, save_probabilities=True, save_overlay=False)
    maps = Segmenter.from_pretrained(checkpoint)(frames)
    expected = [crf.refine(frame, map_) for frame, map_ in zip(frames, maps, strict=True)]
    np.testing.assert_allclose(probabilities_in(tmp_path / "out"), expected, atol=1e-5)


def test_one_unreadable_video_does_not_stop_the_others(checkpoint, folder, frames, tmp_path, capsys):
    film = write_video(tmp_path / "film.mp4", frames[:1])  # of one frame
    (tmp_path / "broken.mp4").write_text("no video")
    inputs = [str(path) for path in (tmp_path / "broken.mp4", folder, film)]
    command = ["segment", *inputs, "--output", str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
    assert cli.main(command) == 1
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'out' / 'clip'}\n{tmp_path / 'out' / 'film'}\n"
    assert re.search(r"^error: .*broken\.mp4 failed: .*broken\.mp4", printed.err, re.MULTILINE)
    assert files(tmp_path / "out" / "film") == ["contact_sheet.png", "masks/00000.png", "overlay.mp4", "result.json"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["done"], summary["found"], summary["failed"]) == (2, 0, 1)
    assert [video["frames"] for video in summary["videos"]] == [0, 6, 1]


def test_what_is_done_is_not_done_again_and_what_has_changed_is(checkpoint, folder, tmp_path):
    mask = tmp_path / "out" / "masks" / "frame8.png"

    def status(**options):
        (outcome,) = segment([folder], tmp_path / "out", checkpoint, save_overlay=False, **options)
        return outcome.status

    assert [status(), status()] == ["done", "found"]
    assert [status(threshold=0.3), status(threshold=0.3), status()] == ["done", "found", "done"]
    assert [status(num_references=2), status(refine=True), status(refine=True)] == ["done", "done", "found"]
    mask.unlink()
    assert status(refine=True) == "done" and mask.exists()
    os.utime(folder / "frame9.png", (1, 1))
    assert status(refine=True) == "done"
    (tmp_path / "out" / "result.json").write_text("{")
    (tmp_path / "out" / "masks" / ".frame8.png.7.part").touch()  # of a process that was killed
    assert status(refine=True) == "done"
    assert not [name for name in files(tmp_path / "out") if name.endswith(".part")]
    (folder / "frame9.png").unlink()  # it is another video now
    assert status(refine=True) == "done"
    assert [name for name in files(tmp_path / "out") if "masks" in name] == sorted(set(MASKS) - {"masks/frame9.png"})
    (tmp_path / "out" / "contact_sheet.png").unlink()
    assert status(refine=True) == "done"


def test_a_folder_of_videos_and_a_pattern_are_all_of_their_videos(checkpoint, folder, frames, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "notes.txt").touch()
    folder.rename(corpus / "clip")
    write_video(corpus / "film10.mp4", frames[:2])
    assert folders_of([corpus], tmp_path / "all", checkpoint) == [
        tmp_path / "all" / name for name in ("clip", "film10")
    ]
    assert folders_of([str(corpus / "*.mp4")], tmp_path / "some", checkpoint) == [tmp_path / "some" / "film10"]
    (corpus / "film10.mp4").rename(corpus / "film[1].mp4")
    twice = [corpus, corpus / "film[1].mp4", corpus / "*"]
    assert folders_of(twice, corpus / "o", checkpoint) == [corpus / "o" / name for name in ("clip", "film[1]")]
    (tmp_path / "texts").mkdir()
    for given, message in ((corpus / "*.avi", "no video matches this pattern"), (tmp_path / "texts", "and no videos")):
        with pytest.raises(InputError, match=message):
            segment([given], tmp_path / "none", checkpoint)


def test_wrong_inputs_are_named(checkpoint, folder, tmp_path, frames, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "nothing.mp4").touch()
    whole = write_video(tmp_path / "whole.mp4", frames).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other").mkdir()
    write_video(tmp_path / "other" / "clip.mp4", frames)
    for inputs, message in (
        (["none.mp4"], "none.mp4: no such video file or folder"),
        (["empty"], "empty: no jpg or png frames"),
        (["nothing.mp4"], "nothing.mp4: the file is empty"),
        (["cut.mp4"], "cut.mp4"),
        (["clip", "other/clip.mp4"], "clip and .*clip.mp4 would both be written to .*out/clip"),
    ):
        with pytest.raises(InputError, match=message):
            segment([tmp_path / name for name in inputs], tmp_path / "out", checkpoint)
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    for settings, message in (
        ({"checkpoint": tmp_path / "empty"}, "empty holds no checkpoint"),
        ({"size": (9, 99)}, r"size is \(9, 99\); expected"),
        ({"threshold": 1.0}, "--threshold is 1.0; expected at least 0 and below 1"),
        ({"threshold": float("nan")}, "--threshold is nan"),
        ({"num_references": -1}, "num_references is -1; expected a whole number from 0 to 100"),
        ({"num_references": 0, "fusion": "group"}, "--num-references is 0; without references there is no"),
        ({"seed": 3}, "--seed is 3; it needs --sampling random"),
        ({"crf_backend": "jax"}, "--crf-backend is jax; it needs --crf"),
        ({"refine": True, "crf_backend": "pydensecrf"}, "pip install pydensecrf2"),
    ):
        with pytest.raises(InputError, match=message):
            segment([folder], tmp_path / "new", **{"checkpoint": checkpoint, **settings})
    assert not (tmp_path / "new").exists()


def test_closed_choices_are_listed(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["segment", "--help"])
    shown = capsys.readouterr().out
    for values in ("uniform,random,consecutive", "prediction,summary,group", "jax,pydensecrf", "webm,prores,png"):
        assert values in shown.replace("\n", "").replace(" ", "")


def test_results_never_go_over_an_input(checkpoint, folder, tmp_path, frames):
    film = write_video(tmp_path / "overlay.mp4", frames)
    (tmp_path / "masks").mkdir()
    for image in folder.iterdir():
        os.link(image, tmp_path / "masks" / image.name)
    masks, image = tmp_path / "masks", tmp_path / "masks" / "frame8.png"
    for inputs, output in (
        ([folder], folder), ([film], tmp_path), ([folder, film], tmp_path), ([masks], tmp_path), ([image], tmp_path)
    ):  # fmt: skip
        with pytest.raises(InputError, match="results would be written over this input"):
            segment(inputs, output, checkpoint)


@pytest.mark.parametrize("theirs", ["masks/77.png", "cutout/0.png", "overlay.mp4"])
def test_files_that_are_no_results_stay(checkpoint, folder, tmp_path, theirs):
    """The layout of the dataset `videos`: a set's frames lie in `images`, its own masks beside them."""
    (tmp_path / "bear").mkdir()
    folder.rename(tmp_path / "bear" / "images")
    truth = tmp_path / "bear" / theirs
    truth.parent.mkdir(exist_ok=True)
    truth.write_bytes(b"truth")
    message = re.escape(f"{truth}: would be replaced or removed, and without result.json")
    with pytest.raises(InputError, match=message):
        segment([tmp_path / "bear" / "images"], tmp_path / "bear", checkpoint)
    assert truth.read_bytes() == b"truth" and not (tmp_path / "bear" / "result.json").exists()


def test_an_output_that_cannot_be_written_to_is_one_line_and_status_1(checkpoint, folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        cli.main(["segment", str(folder), "--output", str(tmp_path / "file"), "--checkpoint", str(checkpoint)])
    assert ended.value.code == 1
    assert f"error: {tmp_path / 'file'}: cannot be written to (File exists)" in capsys.readouterr().err


@contextlib.contextmanager
def largest_file(size):
    """A limit on the size of files, which stands for a full disk. It holds for stderr too, hence the tests' capsys."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("largest", "failing", "options"),
    [
        (50, "masks/frame8.png", {}),  # smaller than a mask
        (700, "probabilities/frame8.png", {"save_probabilities": True}),
        (700, "overlay.mp4", {}),
        (700, "cutout.webm", {"cutout": "webm", "save_overlay": False}),
        (700, "cutout/frame8.png", {"cutout": "png", "save_overlay": False}),
        (700, "coco.json", {"save_coco": True, "save_overlay": False}),
        (20_000, "contact_sheet.png", {}),
    ],
)
def test_a_full_disk_leaves_whole_files_and_says_which_one_failed(
    checkpoint, folder, tmp_path, largest, failing, options, capsys
):
    segment([folder], tmp_path / "whole", checkpoint, **options)
    with largest_file(largest), pytest.raises(InputError) as error:
        segment([folder], tmp_path / "out", checkpoint, **options)
    assert str(error.value) == f"{tmp_path / 'out' / failing}: cannot be written (File too large)"
    assert read_record(tmp_path / "out") == {}
    written = files(tmp_path / "out")
    assert failing not in written and set(written) < set(files(tmp_path / "whole"))
    for name in set(written) - {RECORD}:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_results_in_a_folder_of_videos_are_known_after_a_kill(checkpoint, frames, tmp_path, capsys):
    """A second run with other settings was killed when the contact sheet of the first one was there."""
    (tmp_path / "clips").mkdir()
    film = write_video(tmp_path / "clips" / "a.mp4", frames[:2])
    common = {"num_references": 1, "save_overlay": False}
    (output,) = folders_of([film.parent], film.parent, checkpoint, **common)
    before = (output / RECORD).read_bytes()
    with largest_file(50), pytest.raises(InputError, match="cannot be written"):
        segment([film], output, checkpoint, threshold=0.4, **common)
    assert (output / "contact_sheet.png").exists()
    assert find_videos(film.parent) == [film]
    assert folders_of([film.parent], film.parent, checkpoint, **common) == [output]
    assert (output / RECORD).read_bytes() == before


def test_a_second_run_on_the_same_results_is_refused(checkpoint, folder, tmp_path, monkeypatch):
    """Two runs with other settings left masks of both, and a record of one."""
    work, second = Segmenter.predict, VideoProcessor(SegmentSettings(checkpoint, threshold=0.4))

    def interfere(*given, **options):
        with pytest.raises(InputError, match="out: another process writes results there; expected a folder of its own"):
            second.process(open_video(folder), tmp_path / "out")
        yield from work(*given, **options)

    monkeypatch.setattr(Segmenter, "predict", interfere)
    segment([folder], tmp_path / "out", checkpoint, num_references=1, save_overlay=False)
    assert read_record(tmp_path / "out")["maps"]["threshold"] == 0.5


def test_a_damaged_frame_stops_the_work_without_half_files(checkpoint, folder, tmp_path):
    path = folder / "frame12.png"
    data = bytearray(path.read_bytes())
    data[200:1200] = bytes(1000)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"frame12\.png: not a readable image"):
        segment([folder], tmp_path / "out", checkpoint, num_references=1)
    assert set(files(tmp_path / "out")) <= {RECORD, *MASKS[:4]}


@pytest.mark.process
@pytest.mark.usefixtures("default_sigint")
@pytest.mark.parametrize("options", [pytest.param([], marks=pytest.mark.slow), ["--crf", "--save-probabilities"]])
def test_ctrl_c_leaves_whole_files_and_nothing_half_written(checkpoint, tmp_path, options):
    (tmp_path / "long").mkdir()
    for number in range(3000):
        os.symlink(tmp_path / "frame.png", tmp_path / "long" / f"{number}.png")
    Image.new("RGB", (160, 120), (90, 40, 20)).save(tmp_path / "frame.png")
    command = [sys.executable, "-m", "cosnet_jax", "segment", tmp_path / "long", "--output", tmp_path / "out", *options]
    process = subprocess.Popen([*command, "--checkpoint", checkpoint], stderr=subprocess.PIPE, text=True)
    mask, deadline = tmp_path / "out" / "masks" / "3.png", time.monotonic() + 50
    while not mask.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == "interrupted" and "Traceback" not in error
    written = files(tmp_path / "out")
    masks = [name for name in written if name.startswith("masks/")]
    assert masks == sorted(f"masks/{number}.png" for number in range(len(masks)))
    assert 4 <= len(masks) < 3000
    kinds = {name.split("/")[0] for name in written}
    assert kinds == ({RECORD, "masks", "probabilities"} if options else {RECORD, "masks"})
    assert all(read(tmp_path / "out" / name).shape == (120, 160) for name in written if name != RECORD)


def test_marked_references_are_those_that_the_whole_video_shares():
    table = np.array([[3, 8]] * 10)
    table[3], table[8] = [5, 8], [3, 5]
    assert common_references(table) == [3, 8]
    assert common_references(np.array([[1, 2], [0, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7], [5, 6]])) == []
    assert common_references(np.zeros((4, 0), int)) == []
    assert common_references(np.array([[0]])) == [0]
