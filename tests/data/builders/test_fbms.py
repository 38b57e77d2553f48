"""The layout of FBMS-59 and its three kinds of ground truth."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_datasets import draw_image, draw_mask, save

from cosnet_jax.data.builders.fbms import Fbms

MAGENTA, ORANGE, WHITE = (255, 0, 255), (255, 128, 0), (255, 255, 255)


def definition(labels: list[int], annotated: list[tuple[int, str, str]]) -> str:
    """Makes a definition file in the format of the dataset."""
    lines = ["Ground truth definition file; do not change!", "", "Total number of regions:", str(len(labels)), ""]
    for region, label in enumerate(labels):
        lines += [f"Scale of region {region}:", str(label), ""]
    lines += ["Confusion penality matrix"] + ["0 1"] * len(labels)
    lines += ["", "Total number of frames in this shot:", "6", "Total number of labeled frames for this shot:"]
    lines += [str(len(annotated))]
    for number, truth, image in annotated:
        lines += ["Frame number:", str(number), "File name:", truth, "Input file name:", image]
    return "\r\n".join(lines) + "\r\n"


def make_color_sequence(folder: Path) -> Path:
    """Makes six frames. The first and the fifth have a colour ground truth with two objects; one is not in the .dat."""
    name = folder.name
    for i in range(1, 7):
        save(folder / f"{name}_{i:04d}.jpg", draw_image(i))
    truth = folder / "GroundTruth"
    for i in (1, 5):
        labels = np.full((*draw_mask(i).shape, 3), 255, np.uint8)
        labels[draw_mask(i)] = MAGENTA
        labels[:, :10][draw_mask(i)[:, :10]] = ORANGE
        save(truth / f"{name}_{i:04d}_gt.ppm", labels)
        save(truth / f"{name}_{i:04d}_PROB_gt.ppm", labels)
    annotated = [(i - 1, f"{name}_{i:04d}_gt.ppm", f"{name}_{i:04d}.ppm") for i in (1, 5)]
    (truth / f"{name}Def.dat").write_text(definition([0xFFFFFF, 0xFF00FF], annotated))
    return folder


def make_grey_sequence(folder: Path, with_definition: bool) -> Path:
    """Makes eleven frames. Frames 1 and 10 have a grey ground truth with background 0."""
    name = folder.name
    for i in range(1, 12):
        save(folder / f"{name}_{i:02d}.jpg", draw_image(i))
    truth = folder / "GroundTruth"
    for i in (1, 10):
        save(truth / f"{name}_{i:02d}.pgm", np.where(draw_mask(i), 85, 0).astype(np.uint8))
    if with_definition:
        annotated = [(i - 1, f"{name}_{i:02d}.pgm", f"{name}_{i:02d}.ppm") for i in (1, 10)]
        (truth / f"{name}Def.dat").write_text(definition([0, 85], annotated))
    return folder


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
    (truth / "cars1Def.dat").write_text(definition([85, 0], [(0, "cars1_01.pgm", "cars1_01.ppm")]))
    assert np.array_equal(Fbms.read_mask(truth / "cars1_01.pgm"), ~draw_mask(1))


def test_a_frame_is_found_by_its_number_if_its_name_differs(source):
    truth = source / "Testset/cars1/GroundTruth"
    (truth / "cars1Def.dat").write_text(definition([0, 85], [(9, "cars1_10.pgm", "shot_0010.ppm")]))
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
