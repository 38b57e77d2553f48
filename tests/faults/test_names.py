"""Names that lead elsewhere, do not print or are as long as a name can be."""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_datasets import make_davis

from cosnet_jax import cli
from cosnet_jax.commands.segment import output_folders, segment
from cosnet_jax.data.builders.davis16 import Davis16
from cosnet_jax.errors import MAX_MESSAGE, InputError, report_input_errors
from cosnet_jax.files import atomic_write
from cosnet_jax.progress import track

NAMES = ("a\nb", "\x1b[31mred", "é😀", "<script>alert(1)<script>", "%s %d", "a b", "-rf", "CON", "x" * 251, "😀" * 62)


@pytest.fixture
def odd_names(tmp_path) -> Path:
    """A folder of frames with such names."""
    folder = tmp_path / "in" / "<b>\n"
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        image = np.full((32, 40, 3), 20 * number, np.uint8)
        Image.fromarray(image).save(folder / f"{name}.png")
    return folder


def test_results_have_the_names_of_the_frames_and_lie_in_the_output(odd_names, checkpoint, tmp_path):
    before = set(tmp_path.glob("*"))
    (folder,) = segment([odd_names], tmp_path / "out", checkpoint, num_references=1)
    assert {path.name for path in (folder / "masks").iterdir()} == {f"{name}.png" for name in NAMES}
    assert {path.name for path in folder.iterdir()} == {"masks", "overlay.mp4", "contact_sheet.png", "result.json"}
    assert set(tmp_path.glob("*")) == before | {tmp_path / "out"}


@pytest.mark.parametrize("name", ["...mp4", "..mp4"])
def test_no_name_of_a_video_leads_out_of_the_output(tmp_path, name):
    folders = output_folders([tmp_path / name, tmp_path / "b.mp4"], tmp_path / "out", single=False)
    assert folders == [tmp_path / "out" / name, tmp_path / "out" / "b"]


def test_a_listing_of_davis_does_not_lead_out_of_the_source(tmp_path):
    """A sequence called ".." would have its masks written beside the folder of masks."""
    source = make_davis(tmp_path / "davis", {"bear": 1}, {"camel": 1})
    listing = source / "ImageSets" / "480p" / "val.txt"
    for line in ("/JPEGImages/../0.jpg /Annotations/../0.png", "/JPEGImages/480p/../bear/0.jpg /x/480p/../bear/0.png"):
        listing.write_text(line)
        assert any("val.txt, line 1, says" in problem for problem in Davis16.scan(source).problems)


def test_a_link_at_the_place_of_a_result_is_replaced_and_not_followed(tmp_path):
    victim, result = tmp_path / "victim", tmp_path / "mask.png"
    victim.write_text("precious")
    result.symlink_to(victim)
    with atomic_write(result) as temporary:
        temporary.write_text("mask")
    assert victim.read_text() == "precious"
    assert result.read_text() == "mask"
    assert not result.is_symlink()


def test_messages_are_one_line_that_any_terminal_prints():
    name = os.fsdecode(b"a\n\x1b[2J\xff\xe2\x80\xae.mp4")
    with redirect_stderr(io.StringIO()) as printed, pytest.raises(SystemExit), report_input_errors():
        raise InputError(f"{name}: no such video")
    assert printed.getvalue() == "error: a\\n\\x1b[2J\\udcff\\u202e.mp4: no such video\n"
    assert len(str(InputError("x" * 2 * MAX_MESSAGE))) < MAX_MESSAGE + 10


ODD = "a\x1b[2J\n\udcff"
SHOWN = "a\\x1b[2J\\n\\udcff"


def test_progress_is_one_line_that_any_terminal_prints(capsys, monkeypatch):
    assert list(track([1], ODD)) == [1]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(track([1], ODD)) == [1]
    lines, bar = capsys.readouterr().err.split("\n", 1)
    assert lines.startswith(f"{SHOWN}: done in ") and SHOWN in bar and "\x1b[2J" not in bar


def test_commands_print_names_that_any_terminal_prints(capsys, monkeypatch):
    """A name with a byte that is no character ended in a traceback after the work."""
    monkeypatch.setattr("cosnet_jax.commands.segment.segment", lambda *_, **__: [Path(ODD)])
    monkeypatch.setattr("cosnet_jax.commands.prepare.prepare", lambda *_: [Path(ODD)])
    monkeypatch.setattr("cosnet_jax.commands.prepare.describe_prepared", lambda _: [ODD])
    cli.main(["segment", "a.mp4", "--output", "out"])
    cli.main(["prepare", "stills"])
    assert capsys.readouterr().out == f"{SHOWN}\n{SHOWN}\n  {SHOWN}\n"


def test_names_in_a_prepared_dataset_are_checked(monkeypatch):
    from cosnet_jax.data import sequences

    entry = {"name": "..", "start": 0, "frames": ["0"], "annotated": None}

    class Info:
        metadata = {"fingerprint": "", "sequences": {"val": [entry]}}  # noqa: RUF012

    class Builder:
        info = Info

    monkeypatch.setattr(sequences.tfds, "builder_from_directory", lambda _: Builder)
    with pytest.raises(InputError, match=r"a sequence or frame called '\.\.'"):
        sequences._open_folder("prepared", "val")
    entry["name"], entry["frames"] = "bear", ["a/b"]
    with pytest.raises(InputError, match=r"called 'a/b'"):
        sequences._open_folder("prepared", "val")
