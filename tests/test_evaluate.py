"""Evaluation of datasets in their official layouts, from masks and checkpoints, and what is said about wrong inputs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_network import make_tiny, write_checkpoint

from configs import davis16, fbms, youtube_objects
from cosnet_jax.checkpoints.store import LATEST
from cosnet_jax.commands import evaluate as evaluation
from cosnet_jax.commands.evaluate import evaluate
from cosnet_jax.errors import InputError
from cosnet_jax.evaluation import score
from cosnet_jax.files import claimed
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.inference.sequence_masks import SequenceMasks

sys.path.insert(0, str(Path(__file__).parent / "data"))  # for raw_datasets
from raw_datasets import HEIGHT, WIDTH, draw_image, draw_mask, make_davis, save

EMPTY = np.zeros((HEIGHT, WIDTH), bool)


def tiny(module, source: Path):
    """A configuration with a network that takes seconds, for one of the datasets."""
    config = module.get_config("smoke")
    config.size = (33, 41)
    make_tiny(config)
    config.data.data_dir = str(source.parent / "prepared")
    config.data[config.data.eval_dataset].source = str(source)
    return config


@pytest.fixture(scope="module")
def fbms_source(tmp_path_factory) -> Path:
    """Two test sequences: cars1 with grey ground truth of frames 1, 3 and 5, the third empty; people1 with colour."""
    root = tmp_path_factory.mktemp("fbms") / "raw"
    for name in ("cars1", "people1"):
        for i in range(1, 7):
            save(root / f"Testset/{name}/{name}_{i:02}.jpg", draw_image(i))
    for i in (1, 3, 5):
        labels = np.where(EMPTY if i == 3 else draw_mask(i), 85, 0).astype(np.uint8)
        save(root / f"Testset/cars1/GroundTruth/cars1_{i:02}.pgm", labels)
    colours = np.where(draw_mask(9)[..., None], np.uint8([255, 0, 255]), np.uint8(255))
    save(root / "Testset/people1/GroundTruth/people1_02_gt.ppm", colours)
    return root


@pytest.fixture(scope="module")
def youtube_source(tmp_path_factory) -> Path:
    """Three sequences of two categories, the second frame of each annotated."""
    root = tmp_path_factory.mktemp("youtube") / "raw"
    for shot in ("cat/data/0001/shots/001", "cat/data/0002/shots/001", "train/data/0001/shots/003"):
        for i in (1, 2, 3):
            save(root / shot / f"images/{i}.png", draw_image(i))
        save(root / shot / "labels/2.jpg", draw_mask(5).astype(np.uint8) * 255, quality=95)
    return root


@pytest.fixture(scope="module")
def davis_source(tmp_path_factory) -> Path:
    """DAVIS-2016 with the sequences camel (5 frames) and cows (4) for validation."""
    return make_davis(tmp_path_factory.mktemp("davis") / "DAVIS", {"bear": 3}, {"camel": 5, "cows": 4})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, fbms_source) -> str:
    """A network as initialised."""
    config, folder = tiny(fbms, fbms_source), tmp_path_factory.mktemp("work") / LATEST
    return str(write_checkpoint(config, folder))


def half(mask: np.ndarray) -> np.ndarray:
    """The left half of a rectangle's 30 columns."""
    left = np.flatnonzero(mask.any(axis=0))[0]
    return mask & (np.arange(mask.shape[1]) < left + 15)


def davis_predictions(folder: Path) -> Path:
    """The ground truth of DAVIS-2016 as predictions."""
    for name, length in (("camel", 5), ("cows", 4)):
        for i in range(length):
            save(folder / name / f"{i:05}.png", draw_mask(sum(name.encode()) + i).astype(np.uint8) * 255)
    return folder


def test_fbms_from_masks(fbms_source, tmp_path):
    masks = tmp_path / "masks"
    for i, mask in ((1, draw_mask(1)), (3, ~EMPTY), (5, half(draw_mask(5)))):
        save(masks / f"cars1/cars1_{i:02}.png", mask.astype(np.uint8) * 255)
    save(masks / "people1/people1_02.png", draw_mask(9).astype(np.uint8) * 255)
    results = evaluate(tiny(fbms, fbms_source), tmp_path / "out", None, str(masks))
    assert results["dataset"] == "fbms"
    assert results["split"] == "test"
    assert results["per_frame"]["cars1"]["J"] == [1.0, 0.5]
    assert results["J"]["mean"] == pytest.approx((0.75 + 1) / 2)
    assert set(results["J"]) == {"mean", "recall", "decay"}
    text = (tmp_path / "out/results.md").read_text()
    assert "| this run | 87.5 |" in text
    assert "75.6" in text  # the paper's Table 4
    assert "75.6" in (tmp_path / "out/report.html").read_text()


def test_youtube_objects_from_masks(youtube_source, tmp_path, capsys):
    masks = tmp_path / "masks"
    for name, mask in (
        ("cat_0001_001", draw_mask(5)), ("cat_0002_001", half(draw_mask(5))), ("train_0001_003", EMPTY),
    ):  # fmt: skip
        save(masks / name / "2.png", mask.astype(np.uint8) * 255)
    results = evaluate(tiny(youtube_objects, youtube_source), tmp_path / "out", None, str(masks))
    assert results["J"]["mean"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert results["over_categories"]["J"]["mean"] == pytest.approx((0.75 + 0) / 2)
    for shown in ((tmp_path / "out/results.md").read_text(), (tmp_path / "out/report.html").read_text()):
        for text in ("cat", "train", "mean of categories", "mean of videos", "37.5", "50.0", "66.5", "70.5"):
            assert text in shown
    evaluation.print_scores(results, tmp_path)
    assert "J 50.0, F" in (printed := capsys.readouterr().out)
    assert "J over categories 37.5" in printed


@pytest.mark.slow
def test_from_a_checkpoint(fbms_source, checkpoint, tmp_path):
    config = tiny(fbms, fbms_source)
    results = evaluate(config, tmp_path / "out", checkpoint, None)
    assert 0 <= results["single_frame"]["J"]["mean"] <= 1
    masks = sorted((tmp_path / "out/masks").glob("*/*.png"))
    assert len(masks) == 12  # every frame, annotated or not
    assert {cv2.imread(str(path)).shape for path in masks} == {(HEIGHT, WIDTH, 3)}
    again = evaluate(config, tmp_path / "again", None, str(tmp_path / "out/masks"))
    assert (again["J"], again["F"]) == (results["J"], results["F"])
    assert json.loads((tmp_path / "out/results.json").read_text())["per_sequence"] == results["per_sequence"]


def test_an_interrupted_evaluation_goes_on_where_it_stopped(fbms_source, checkpoint, tmp_path, monkeypatch):
    config, out, segmented, written = tiny(fbms, fbms_source), tmp_path / "out", [], []
    predict, write = Segmenter.predict, SequenceMasks.write
    monkeypatch.setattr(score, "usable_cores", lambda: 1)  # processes for two sequences take longer than these
    whole = evaluate(config, tmp_path / "whole", checkpoint, None)

    def note(segmenter, sequence, *arguments):
        segmented.append(sequence.name)
        return predict(segmenter, sequence, *arguments)

    def interrupt(*arguments):
        written.append(arguments)
        if len(written) == 15:  # the second of two sequences has begun, each of 12 masks
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(Segmenter, "predict", note)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SequenceMasks, "write", interrupt)
        evaluate(config, out, checkpoint, None)
    assert segmented == ["cars1", "people1"]
    (out / "masks/people1/.people1_01.png.7.part").touch()  # of a process that was killed
    assert evaluate(config, out, checkpoint, None) == whole
    assert segmented == ["cars1", "people1", "people1"]
    assert not list(out.glob("**/*.part"))
    assert evaluate(config, out, checkpoint, None) == whole
    assert len(segmented) == 3
    config.inference.sampling = "random"
    evaluate(config, out, checkpoint, None)
    assert segmented[3:] == ["cars1", "people1"]


def test_davis_has_all_three_scores(davis_source, tmp_path):
    masks = davis_predictions(tmp_path / "masks")
    config = tiny(davis16, davis_source)
    config.evaluation.metrics = "J, F, T"
    results = evaluate(config, tmp_path / "out", None, str(masks))
    assert results["J"] == results["F"] == {"mean": 1.0, "recall": 1.0, "decay": 0.0}
    assert results["T"]["sequences"] == ["camel", "cows"]
    assert results["T"]["mean"] < 0.2  # rectangles that move
    assert "| T mean |" in (tmp_path / "out/results.md").read_text()


def test_no_contours_at_all(davis_source, tmp_path, capsys):
    masks = davis_predictions(tmp_path / "masks")
    for path in masks.glob("*/*.png"):
        save(path, EMPTY.astype(np.uint8))
    results = evaluate(tiny(davis16, davis_source), tmp_path / "out", None, str(masks))
    assert results["J"]["mean"] == 0
    assert results["T"]["mean"] is None
    evaluation.print_scores(results, tmp_path)
    assert "T –" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda masks: (masks / "camel/00002.png").unlink(), r"camel/00002\.png: predicted mask is missing"),
        (
            lambda masks: save(masks / "cows/00001.png", EMPTY[:20]),
            r"00001\.png: mask of 20 x 56 pixels, but .* 40 x 56",
        ),
    ],
)
def test_wrong_predictions_are_named(davis_source, tmp_path, damage, message):
    masks = davis_predictions(tmp_path / "masks")
    damage(masks)
    with pytest.raises(InputError, match=message):
        evaluate(tiny(davis16, davis_source), tmp_path / "out", None, str(masks))
    assert not (tmp_path / "out/results.json").exists()


def test_a_second_evaluation_of_one_folder_is_refused(davis_source, tmp_path):
    masks = davis_predictions(tmp_path / "masks")
    with (
        claimed(tmp_path, evaluation.LOCK_FILE, "evaluates"),
        pytest.raises(InputError, match="another process evaluates"),
    ):
        evaluate(tiny(davis16, davis_source), tmp_path, None, str(masks))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data.eval_split": "test"}, "no split 'test'"),
        ({"data.eval_dataset": "davis17"}, "dataset 'davis17' is unknown"),
        ({"data.davis16.source": "nowhere"}, "nowhere"),
        (
            {"evaluation.metrics": "J,mae"},
            r"evaluation.metrics are \['J', 'mae'\]; expected some of J, F, T for davis16",
        ),
        ({"evaluation.sequences": "cows,sheep"}, "evaluation.sequences names 'sheep', which is not in split 'val'"),
        ({}, "masks: no such folder of predicted masks"),
    ],
)
def test_wrong_settings_are_named(davis_source, tmp_path, change, message):
    config = tiny(davis16, davis_source)
    config.update_from_flattened_dict(change)
    with pytest.raises(InputError, match=message):
        evaluate(config, tmp_path / "out", None, str(tmp_path / "masks"))


def test_chosen_sequences(davis_source, tmp_path):
    masks, config = davis_predictions(tmp_path / "masks"), tiny(davis16, davis_source)
    config.evaluation.sequences = "cows"
    results = evaluate(config, tmp_path / "out", None, str(masks))
    assert (list(results["per_sequence"]), results["not_scored"]) == (["cows"], ["camel"])
