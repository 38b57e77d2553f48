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
from cosnet_jax.commands.segment_video import common_references
from cosnet_jax.errors import InputError
from cosnet_jax.inference import crf
from cosnet_jax.inference.keep_object import keep_object
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.video.find import RECORD
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
    assert re.match(r"clip on .*cpu.*: done in ", printed.err)
    expected = Segmenter.from_pretrained(checkpoint, num_references=2)(frames)
    probabilities = [name.replace("masks", "probabilities") for name in MASKS]
    assert files(output) == sorted(["contact_sheet.png", "overlay.mp4", "result.json", *MASKS, *probabilities])
    for name, probability in zip(MASKS, expected, strict=True):
        np.testing.assert_array_equal(read(output / name), np.where(probability > 0.4, 255, 0))
    np.testing.assert_allclose(probabilities_in(output), expected, atol=1e-5)


def test_settings_reach_the_engine(checkpoint, folder, frames, tmp_path):
    given = ["--size", "40", "32", "--num-references", "3", "--sampling", "consecutive", "--fusion", "prediction"]
    arguments = ["--output", str(tmp_path / "out"), "--checkpoint", str(checkpoint), *given, "--smooth", "1.5"]
    cli.main(["segment", str(folder), *arguments, "--no-overlay", "--save-probabilities"])
    assert not (tmp_path / "out" / "overlay.mp4").exists()
    settings = {"size": (40, 32), "sampling": "consecutive", "fusion": "prediction", "temporal_smoothing": 1.5}
    expected = Segmenter.from_pretrained(checkpoint, num_references=3, **settings)(frames)
    np.testing.assert_allclose(probabilities_in(tmp_path / "out"), expected, atol=1e-5)


def test_the_crf_refines_what_the_network_says(checkpoint, folder, frames, tmp_path):
    segment([folder], tmp_path / "out", checkpoint, crf_backend="jax", save_probabilities=True, save_overlay=False)
    maps = Segmenter.from_pretrained(checkpoint)(frames)
    expected = [crf.refine(frame, map_) for frame, map_ in zip(frames, maps, strict=True)]
    np.testing.assert_allclose(probabilities_in(tmp_path / "out"), expected, atol=1e-5)


def test_one_object_is_kept(checkpoint, folder, frames, tmp_path, capsys):
    maps = Segmenter.from_pretrained(checkpoint)(frames)
    threshold = float(np.quantile(maps[3], 0.9))
    y, x = np.unravel_index(maps[3].argmax(), maps[3].shape)
    arguments = ["segment", str(folder), "--output", str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
    options = ["--save-probabilities", "--no-overlay", "--threshold", str(threshold)]
    assert cli.main([*arguments, *options, "--keep", f"{x},{y},3"]) == 0
    expected = list(keep_object(maps, x, y, 3, threshold))
    np.testing.assert_allclose(probabilities_in(tmp_path / "out"), expected, atol=1e-5)
    for place, message in (("9", "invalid place value: '9'"), ("1,2,6", "clip has 6 frames of 64 x 48 pixels")):
        with pytest.raises(SystemExit):
            cli.main([*arguments, "--keep", place])
        assert message in capsys.readouterr().err


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


@pytest.mark.slow
def test_results_of_an_earlier_run_stay_and_those_of_other_masks_are_named(checkpoint, folder, tmp_path, capsys):
    picture, output = tmp_path / "sky.png", tmp_path / "out"
    Image.new("RGB", (32, 32), (90, 140, 220)).save(picture)

    def made(**options):
        (outcome,) = segment([folder], output, checkpoint, save_overlay=False, **options)
        return outcome.status, capsys.readouterr().out

    for options in ({"cutout": "png"}, {"cutout": "webm", "background": "blur"}, {"background": str(picture)}):
        assert [made(**options), made(**options)] == [("done", ""), ("found", "")]
    assert made(cutout="webm") == ("found", "")
    Image.new("RGB", (32, 32), (90, 140, 221)).save(picture)
    assert made(background=str(picture)) == ("done", "")
    status, printed = made(threshold=0.4, cutout="webm")
    assert status == "done"
    message = "an earlier run made it of other masks; it stays as it is"
    assert sorted(printed.splitlines()) == [f"{output / name}: {message}" for name in ("cutout.mp4", "cutout")]
    assert (output / "cutout" / "frame8.png").exists()


def test_a_folder_of_videos_and_a_pattern_are_all_of_their_videos(checkpoint, folder, frames, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "notes.txt").touch()
    folder.rename(corpus / "clip")
    write_video(corpus / "film[1].mp4", frames[:2])
    twice = [corpus, corpus / "film[1].mp4", corpus / "*"]
    for _ in range(2):  # the results in the corpus are no videos of it
        assert folders_of(twice, corpus / "o", checkpoint) == [corpus / "o" / name for name in ("clip", "film[1]")]
    assert folders_of([str(corpus / "*.mp4")], tmp_path / "some", checkpoint) == [tmp_path / "some" / "film[1]"]


def test_wrong_inputs_are_named(checkpoint, folder, tmp_path, frames, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    whole = write_video(tmp_path / "whole.mp4", frames).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other").mkdir()
    write_video(tmp_path / "other" / "clip.mp4", frames)
    for inputs, message in (
        (["none.mp4"], "none.mp4: no such video file or folder"),
        (["empty"], "empty: no jpg or png frames"),
        (["cut.mp4"], "cut.mp4"),
        (["clip", "other/clip.mp4"], "clip: another video would be written to .*out/clip too"),
    ):
        with pytest.raises(InputError, match=message):
            segment([tmp_path / name for name in inputs], tmp_path / "out", checkpoint)
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    for settings, message in (
        ({"checkpoint": tmp_path / "empty"}, "empty holds no checkpoint"),
        ({"size": (9, 99)}, r"size is .*9.*; expected"),
        ({"threshold": 1.0}, "--threshold is 1.0; expected at least 0 and below 1"),
        ({"num_references": -1}, "num_references is -1; expected a whole number from 0 to 100"),
        ({"crf_backend": "pydensecrf"}, "pip install pydensecrf2"),
        ({"output": tmp_path / "file"}, r"file: cannot be written to \(File exists\)"),
    ):
        with pytest.raises(InputError, match=message):
            segment([folder], **{"output": tmp_path / "new", "checkpoint": checkpoint, **settings})
    assert not (tmp_path / "new").exists()


def test_results_go_only_where_nothing_but_results_is(checkpoint, folder, tmp_path, frames):
    """A set's own masks may lie beside its frames, and an input may be a result."""
    output = tmp_path / "bear"
    (output / "masks").mkdir(parents=True)
    (output / "masks" / "77.png").write_bytes(b"truth")
    (tmp_path / "out").mkdir()
    film = write_video(tmp_path / "out" / "overlay.mp4", frames)
    for given, where in ((folder, output), (folder, folder), (folder / "frame8.png", folder), (film, film.parent)):
        with pytest.raises(InputError, match="which may be no result of this command"):
            segment([given], where, checkpoint)
    (film.parent / RECORD).write_text("{}")
    with pytest.raises(InputError, match="and not the input"):
        segment([film], film.parent, checkpoint)
    assert files(output) == ["masks/77.png"]


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
        (700, "cutout.webm", {"cutout": "webm", "save_overlay": False}),
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
    assert "maps" not in json.loads((tmp_path / "out" / RECORD).read_text())
    written = files(tmp_path / "out")
    assert failing not in written and set(written) < set(files(tmp_path / "whole"))
    for name in set(written) - {RECORD}:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_second_run_on_the_same_results_is_refused(checkpoint, folder, tmp_path, monkeypatch):
    """Two runs with other settings left masks of both, and a record of one."""
    work = Segmenter.predict

    def interfere(*given, **options):
        with pytest.raises(InputError, match="out: another process writes results there; expected a folder of its own"):
            segment([folder], tmp_path / "out", checkpoint, threshold=0.4)
        yield from work(*given, **options)

    monkeypatch.setattr(Segmenter, "predict", interfere)
    segment([folder], tmp_path / "out", checkpoint, num_references=1, save_overlay=False)
    assert json.loads((tmp_path / "out" / RECORD).read_text())["maps"]["threshold"] == 0.5


@pytest.mark.process
@pytest.mark.usefixtures("default_sigint")
def test_ctrl_c_leaves_whole_files_and_nothing_half_written(checkpoint, tmp_path):
    (tmp_path / "long").mkdir()
    for number in range(3000):
        os.symlink(tmp_path / "frame.png", tmp_path / "long" / f"{number}.png")
    Image.new("RGB", (160, 120), (90, 40, 20)).save(tmp_path / "frame.png")
    command = [sys.executable, "-m", "cosnet_jax", "segment", tmp_path / "long", "--output", tmp_path / "out", "--crf"]
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
    assert {name.split("/")[0] for name in written} == {RECORD, "masks"}
    assert all(read(tmp_path / "out" / name).shape == (120, 160) for name in written if name != RECORD)


def test_marked_references_are_those_that_the_whole_video_shares():
    table = np.array([[3, 8]] * 10)
    table[3], table[8] = [5, 8], [3, 5]
    assert common_references(table) == [3, 8]
    assert common_references(np.array([[1, 2], [0, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7], [5, 6]])) == []
    assert common_references(np.zeros((4, 0), int)) == []
    assert common_references(np.array([[0]])) == [0]
