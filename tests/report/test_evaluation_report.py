"""The report of an evaluation: which frames it shows, and that its page holds what the results hold."""

import shutil

import cv2
import numpy as np
import pytest
from memory_sequence import moving_ellipses, write_masks
from PIL import Image as PillowImage

from cosnet_jax.evaluation.predictions import read_sequence_masks
from cosnet_jax.evaluation.score import score_masks
from cosnet_jax.report.evaluation_report import (
    evaluation_markdown,
    example_frames,
    example_images,
    frame_figure,
    references_section,
    write_evaluation_report,
)
from cosnet_jax.report.page import Section
from cosnet_jax.report.tables import PAPER_LABEL
from cosnet_jax.visualization.overlays import beside, overlay, prediction_beside_truth

RESULTS = {
    "per_frame": {
        "a": {"frames": ["0", "1", "2"], "J": [0.9, 0.8, 0.1]},
        "b": {"frames": ["0", "1"], "J": [0.5, 0.6]},
        "c": {"frames": ["7", "8"], "J": [0.55, 0.56]},
    },
    "per_sequence": {"a": {"J": 0.6}, "b": {"J": 0.55}, "c": {"J": 0.5}},
}


def test_example_frames():
    # Sorted: 0.1, 0.5, 0.55, 0.56, 0.6, 0.8, 0.9. Nearest to the median 0.56 are c 8, c 7 and b 1.
    assert example_frames(RESULTS, each=2) == [
        ("best", "a", "0", 0.9),
        ("best", "b", "1", 0.6),
        ("median", "c", "8", 0.56),
        ("median", "b", "1", 0.6),
        ("worst", "a", "2", 0.1),
        ("worst", "b", "0", 0.5),
    ]
    assert [kind for kind, *_ in example_frames(RESULTS, each=9)] == ["best"] * 3 + ["median"] * 3 + ["worst"] * 3


def test_frame_figure_shows_best_median_and_worst_sequence():
    labels = [line.get_label() for line in frame_figure(RESULTS).axes[0].lines]
    assert labels == ["a (60.0)", "b (55.0)", "c (50.0)"]
    alone = {"per_frame": {"a": RESULTS["per_frame"]["a"]}, "per_sequence": {"a": {"J": 0.6}}}
    assert len(frame_figure(alone).axes[0].lines) == 1


@pytest.fixture
def scored(tmp_path):
    sequences = [moving_ellipses(f"video{number}", seed=number) for number in range(3)]
    shifted = {
        sequence.name: {
            name: np.roll(mask, 1 + number, axis=1)
            for name, mask in zip(sequence.frame_names, sequence.masks, strict=True)
        }
        for number, sequence in enumerate(sequences)
    }
    folder = write_masks(tmp_path / "masks", shifted)
    return score_masks(sequences, folder, processes=1, dataset="synthetic", split="val"), sequences, folder


def test_example_images_show_prediction_and_truth(scored):
    results, sequences, masks = scored
    images = example_images(results, sequences, masks)
    kind, name, frame, score = example_frames(results)[2]
    video = next(video for video in sequences if video.name == name)
    prediction = np.asarray(PillowImage.open(masks / name / f"{frame}.png")) > 0
    image, truth = video.frame_and_mask(video.frame_names.index(frame))
    np.testing.assert_array_equal(images[2].pixels, prediction_beside_truth(image, prediction, truth))
    assert images[2].caption == f"{kind}: {name}, frame {frame}, J {100 * score:.1f}"


def test_references_are_shown_where_they_gain_most(scored, tmp_path):
    results, sequences, masks = scored
    folder = shutil.copytree(masks, tmp_path / "alone")
    video = sequences[1]
    frame = results["per_frame"][video.name]["frames"][0]
    number = video.frame_names.index(frame)
    cv2.imwrite(str(folder / video.name / f"{frame}.png"), np.zeros(video.size, np.uint8))
    alone = score_masks(sequences, folder, processes=1, dataset="synthetic", split="val")
    images = references_section(results, alone, sequences, masks, folder).blocks[2]
    image, prediction = video.frame_and_mask(number)[0], read_sequence_masks(masks, video)[number]
    np.testing.assert_array_equal(images[0].pixels, beside(image, overlay(image, prediction)))
    after = 100 * results["per_frame"][video.name]["J"][0]
    assert (
        images[0].caption.startswith(f"{video.name}, frame {frame}") and f"J 0.0 and {after:.1f}" in images[0].caption
    )


def test_whole_report(scored, tmp_path, capsys):
    results, sequences, masks = scored
    records = [{"step": step, "kind": "video", "loss": 1 / step} for step in (1, 2, 3)]
    records.append({"step": 3, "kind": "validation", "J": 0.5, "J_single_frame": 0.4})
    write_evaluation_report(
        tmp_path / "report.html",
        "COSNet on synthetic videos",
        results,
        metadata={"checkpoint": "runs/7"},
        sequences=sequences,
        masks_dir=masks,
        training_records=records,
        sections=[Section("N = 0 and N = 5", ["A text of one's own."])],
    )
    assert "writing the players: done in" in capsys.readouterr().err
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    headings = [
        "Scores",
        "N = 0 and N = 5",
        "Sequences",
        "Best, median and worst frames",
        "J over the frames",
        "Training",
    ]
    positions = [page.index(f"<h2>{heading}") for heading in headings]
    assert positions == sorted(positions)
    for text in ("synthetic, val", "this run", "A text of one&#39;s own.", "video2", "validation J"):
        assert text in page
    for name, value in (("checkpoint", "runs/7"), ("sequences", 3), ("evaluated frames", 6)):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in page
    assert page.count("<img") == 6
    for name in ("video0", "video1", "video2"):
        assert f'<a href="players/{name}.html">{name}</a>' in page and (tmp_path / "players" / f"{name}.html").is_file()
    assert "Other methods" not in page
    assert f"<td>{100 * results['J']['mean']:.1f}</td>" in page


@pytest.mark.parametrize("split", ["val", "train"])
def test_report_of_scores_alone(tmp_path, split):
    results = {
        "dataset": "davis16",
        "split": split,
        "sequences": 1,
        "J": {"mean": 0.5, "recall": 0.5, "decay": 0.0},
        "per_sequence": {"camel": {"J": 0.5}},
        "config": {},
    }
    write_evaluation_report(tmp_path / "report.html", "Scores", results)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("<h2>Other methods" in page) == (PAPER_LABEL in page) == (split == "val")
    assert ("## Other methods" in evaluation_markdown(results)) == (split == "val")
    assert "<h2>Training" not in page
    assert "<img" not in page
