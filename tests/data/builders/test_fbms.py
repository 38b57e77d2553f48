"""The layout of FBMS-59 and its three kinds of ground truth."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_datasets import draw_mask, make_color_sequence, make_definition, make_grey_sequence, save

from cosnet_jax.data.builders.fbms import Fbms


@pytest.fixture
def source(tmp_path: Path) -> Path:
    make_color_sequence(tmp_path / "Testset" / "camel01")
    make_grey_sequence(tmp_path / "Testset" / "cars1", with_definition=True)
    make_grey_sequence(tmp_path / "Trainingset" / "cars2", with_definition=False)
    return tmp_path


def annotated(scan) -> list[str]:
    return [frame.name for frame in scan.frames() if frame.mask is not None]


def test_splits_and_annotated_frames(source):
    scan = Fbms.scan(source)
    assert scan.problems == [] and [len(frames) for frames in scan.splits.values()] == [11, 17]
    assert annotated(scan) == ["cars2_01", "cars2_10", "camel01_0001", "camel01_0005", "cars1_01", "cars1_10"]
    for frame in scan.frames():  # every kind of ground truth merges the objects
        if frame.mask:
            assert np.array_equal(Fbms.read_mask(frame.mask), draw_mask(int(frame.name[-2:]))), frame


def test_region_0_is_the_background_whatever_its_label(source):
    truth = source / "Testset/cars1/GroundTruth"
    (truth / "cars1Def.dat").write_text(make_definition([85, 0], [(0, "cars1_01.pgm", "cars1_01.ppm")]))
    assert np.array_equal(Fbms.read_mask(truth / "cars1_01.pgm"), ~draw_mask(1))


def test_a_frame_is_found_by_its_number_if_its_name_differs(source):
    truth = source / "Testset/cars1/GroundTruth"
    (truth / "cars1Def.dat").write_text(make_definition([0, 85], [(9, "cars1_10.pgm", "shot_0010.ppm")]))
    without = source / "Trainingset/cars2/GroundTruth"
    (without / "cars2_10.pgm").rename(without / "truth10.pgm")
    assert annotated(Fbms.scan(source)) == ["cars2_01", "cars2_10", "camel01_0001", "camel01_0005", "cars1_10"]


def test_suffixes_have_any_case_and_ground_truth_can_be_png(source):
    for path in [*source.glob("Testset/*/*.jpg"), *source.glob("Trainingset/*/*/*.pgm")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    for path in source.glob("Testset/*/*/*.p?m"):  # of both kinds, listed in a .dat
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    labels = np.where(draw_mask(2), 255, 0).astype(np.uint8)
    save(source / "Trainingset/cars2/GroundTruth/cars2_02_gt.png", labels)
    scan = Fbms.scan(source)
    assert scan.problems == [] and annotated(scan)[:3] == ["cars2_01", "cars2_02", "cars2_10"]
    for frame in scan.frames():
        if frame.mask:
            assert np.array_equal(Fbms.read_mask(frame.mask), draw_mask(int(frame.name[-2:]))), frame


def test_every_missing_file_is_a_problem(source):
    (source / "Testset/camel01/GroundTruth/camel01_0005_gt.ppm").unlink()
    shutil.rmtree(source / "Testset/cars1/GroundTruth")
    for image in (source / "Trainingset/cars2").glob("*.jpg"):
        image.unlink()
    problems = "\n".join(Fbms.scan(source).problems)
    assert "no file camel01_0005_gt" in problems
    assert "cars1 has 11 frames, 0 with ground truth" in problems
    assert "cars2 has 0 frames" in problems and "no image cars2_10.jpg" in problems
