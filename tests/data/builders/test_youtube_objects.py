"""The layout of YouTube-Objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from raw_datasets import draw_image, draw_mask, save

from cosnet_jax.data.builders.youtube_objects import YoutubeObjects
from cosnet_jax.evaluation.protocols import CATEGORIES


def make_shot(shot: Path, length: int, annotated: tuple[int, ...]) -> None:
    for i in range(1, length + 1):
        save(shot / "images" / f"{i}.png", draw_image(i))
        if i in annotated:
            save(shot / "labels" / f"{i}.jpg", draw_mask(i).astype(np.uint8) * 255, quality=90)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for category in CATEGORIES:
        (tmp_path / category / "data").mkdir(parents=True)
    make_shot(tmp_path / "cat/data/0001/shots/001", 11, (1, 11))
    make_shot(tmp_path / "cat/data/0001/shots/002", 2, (1,))
    make_shot(tmp_path / "train/data/0010/shots/001", 3, (1, 2, 3))
    return tmp_path


def test_sequences_are_named_after_category_video_and_shot(source):
    scan = YoutubeObjects.scan(source)
    assert scan.problems == [] and scan.notes == []
    frames = scan.splits["test"]
    assert list(dict.fromkeys(frame.sequence for frame in frames)) == ["cat_0001_001", "cat_0001_002", "train_0010_001"]
    first = [frame for frame in frames if frame.sequence == "cat_0001_001"]
    assert [frame.name for frame in first] == [str(i) for i in range(1, 12)]  # 10 and 11 after 9
    assert [frame.name for frame in first if frame.mask is not None] == ["1", "11"]


def test_jpeg_labels_are_cut_in_the_middle(source):
    mask = YoutubeObjects.read_mask(source / "cat/data/0001/shots/001/labels/11.jpg")
    assert (mask != draw_mask(11)).mean() < 0.01  # JPEG blurs the edge by less than a pixel


def test_missing_categories_are_noted(source):
    (source / "bird/data").rmdir()
    scan = YoutubeObjects.scan(source)
    assert scan.problems == [] and "lacks the categories bird" in scan.notes[0]


def test_wrong_folders(source, tmp_path):
    (source / "cat/data/0001/shots/002/labels/1.jpg").unlink()
    save(source / "train/data/0010/shots/001/images/2.jpg", draw_image(2))
    problems = "\n".join(YoutubeObjects.scan(source).problems)
    assert "images/2.png has the same stem as 2.jpg" in problems
    assert "shots/002/labels holds no mask of an image" in problems
    (problem,) = YoutubeObjects.scan(tmp_path / "cat").problems
    assert "none of the categories" in problem
