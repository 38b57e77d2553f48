"""The layout of DAVIS-2016, and the problems found in other folders."""

from __future__ import annotations

import shutil

import pytest

from cosnet_jax.data.builders.davis16 import Davis16


def names(scan):
    return {split: [f"{frame.sequence}/{frame.name}" for frame in frames] for split, frames in scan.splits.items()}


TRAIN = [f"bear/{i:05d}" for i in range(4)] + [f"cows/{i:05d}" for i in range(3)]


def test_only_listed_frames_are_found_and_suffixes_have_any_case(davis):
    shutil.copytree(davis / "JPEGImages/480p/bear", davis / "JPEGImages/480p/unlisted")
    for path in [*davis.glob("JPEGImages/480p/bear/*"), *davis.glob("Annotations/480p/camel/*")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    scan = Davis16.scan(davis)
    assert scan.problems == [] and names(scan) == {"train": TRAIN, "val": [f"camel/{i:05d}" for i in range(3)]}
    assert scan.splits["val"][1][2:4] == tuple(
        davis / f"{kind}/480p/camel/00001.{suffix}" for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "PNG"))
    )


def test_lists_of_davis_2017_name_sequences(davis):
    shutil.rmtree(davis / "ImageSets/480p")
    (davis / "ImageSets/2016").mkdir()
    (davis / "ImageSets/2016/train.txt").write_text("cows\nbear\n")
    (davis / "ImageSets/2016/val.txt").write_text("camel\n")
    scan = Davis16.scan(davis)
    assert scan.problems == [] and names(scan)["train"] == TRAIN[4:] + TRAIN[:4]


@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        ("JPEGImages/480p/cows", "JPEGImages/480p/cows holds no images"),
        ("JPEGImages/480p/bear/00001.jpg", "JPEGImages/480p/bear/00001.jpg not found"),
        ("Annotations/480p/bear/00002.png", "Annotations/480p/bear/00002.png not found: 1 images"),
        ("Annotations/480p/bear", "Annotations/480p/bear/00001.png not found: 2 images"),
        ("ImageSets", "ImageSets/480p/train.txt not found"),
    ],
)
def test_what_is_missing_is_one_problem(davis, missing, problem):
    path = davis / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert problem in Davis16.scan(davis).problems[0]


@pytest.mark.parametrize("end", [0, 3])
def test_an_end_of_a_sequence_needs_no_mask(davis, end):
    (davis / f"Annotations/480p/bear/{end:05d}.png").unlink()
    scan = Davis16.scan(davis)
    assert scan.problems == []
    assert [i for i, frame in enumerate(scan.splits["train"][:4]) if frame.mask is None] == [end]


@pytest.mark.parametrize("line", ["..", "/0.jpg /0.png", "/JPEGImages/480p/../0.jpg"])
def test_a_line_that_does_not_name_a_frame(davis, line):
    listing = davis / "ImageSets/480p/train.txt"
    listing.write_text(listing.read_text() + line + "\n")
    (problem,) = Davis16.scan(davis).problems
    assert str(listing) in problem
