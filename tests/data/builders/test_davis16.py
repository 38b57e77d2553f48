"""The layout of DAVIS-2016, and the problems found in other folders."""

from __future__ import annotations

import shutil

import pytest

from cosnet_jax.data.builders.davis16 import Davis16


def test_only_listed_frames_are_found(davis):
    shutil.copytree(davis / "JPEGImages/480p/bear", davis / "JPEGImages/480p/unlisted")
    scan = Davis16.scan(davis)
    assert scan.problems == []
    names = {split: [(frame.sequence, frame.name) for frame in frames] for split, frames in scan.splits.items()}
    assert names == {
        "train": [("bear", f"{i:05d}") for i in range(4)] + [("cows", f"{i:05d}") for i in range(3)],
        "val": [("camel", f"{i:05d}") for i in range(3)],
    }
    frame = scan.splits["val"][1]
    assert frame.image == davis / "JPEGImages/480p/camel/00001.jpg"
    assert frame.mask == davis / "Annotations/480p/camel/00001.png"


@pytest.mark.parametrize("folder", ["JPEGImages", "Annotations", "ImageSets"])
def test_a_missing_folder(davis, folder):
    shutil.rmtree(davis / folder)
    (problem,) = Davis16.scan(davis).problems
    assert str(davis / folder / "480p") in problem


def test_empty_lists(davis):
    for split in ("train", "val"):
        (davis / f"ImageSets/480p/{split}.txt").write_text("")
    (problem,) = Davis16.scan(davis).problems
    assert "lists no frames" in problem


def test_a_missing_sequence_is_one_problem(davis):
    shutil.rmtree(davis / "JPEGImages/480p/cows")
    (problem,) = Davis16.scan(davis).problems
    assert "JPEGImages/480p/cows not found" in problem and "train.txt" in problem


def test_a_frame_without_image_and_one_without_mask(davis):
    (davis / "JPEGImages/480p/bear/00001.jpg").unlink()
    (davis / "Annotations/480p/camel/00002.png").unlink()
    first, second = Davis16.scan(davis).problems
    assert "bear/00001.jpg not found" in first and "line 2" in first
    assert "Annotations/480p/camel/00002.png not found: expected the mask of" in second


@pytest.mark.parametrize("line", ["../bear", "/JPEGImages/480p/bear/00000.jpg", "/a/bear/00000.jpg /b/camel/00000.png"])
def test_a_line_that_does_not_name_a_frame(davis, line):
    listing = davis / "ImageSets/480p/train.txt"
    listing.write_text(listing.read_text() + line + "\n")
    (problem,) = Davis16.scan(davis).problems
    assert "line 8" in problem and repr(line) in problem


def test_a_frame_that_is_listed_twice(davis):
    listing = davis / "ImageSets/480p/val.txt"
    listing.write_text(listing.read_text() + listing.read_text().splitlines()[0])
    (problem,) = Davis16.scan(davis).problems
    assert "lists camel/00000 again" in problem


def test_lists_of_davis_2017_name_sequences(davis):
    shutil.rmtree(davis / "ImageSets/480p")
    (davis / "ImageSets/2016").mkdir()
    (davis / "ImageSets/2016/train.txt").write_text("cows\nbear\n")
    (davis / "ImageSets/2016/val.txt").write_text("camel\n")
    scan = Davis16.scan(davis)
    assert scan.problems == []
    train = [(frame.sequence, frame.name) for frame in scan.splits["train"]]
    assert train == [("cows", f"{i:05d}") for i in range(3)] + [("bear", f"{i:05d}") for i in range(4)]
    assert scan.splits["val"][2].mask == davis / "Annotations/480p/camel/00002.png"


def test_suffixes_have_any_case(davis):
    for path in [*davis.glob("JPEGImages/480p/bear/*"), *davis.glob("Annotations/480p/camel/*")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    assert Davis16.scan(davis).problems == []
