"""Run lengths of COCO, read back with pycocotools and counted with NumPy."""

from __future__ import annotations

import json
import os

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from video_files import encode, make_frames

from cosnet_jax.commands.segment import segment
from cosnet_jax.commands.segment_coco import CocoWriter
from cosnet_jax.video.reader import open_video

# Of pycocotools, where it reads masks back.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


@pytest.fixture
def masks():
    """Five masks (48, 66): a square, noise, nothing, everything, and one that reaches the corners."""
    random = np.random.default_rng(0)
    masks = np.zeros((5, 48, 66), bool)
    masks[0, 10:30, 20:50] = True
    masks[1] = random.random((48, 66)) > 0.5
    masks[3] = True
    masks[4, 0, 0] = masks[4, -1, -1] = True
    return masks


def test_pycocotools_reads_the_masks_back(tmp_path, masks):
    video = open_video(encode(tmp_path / "a.mkv", make_frames(5)))
    with CocoWriter(tmp_path / "coco.json", video) as writer:
        for mask in masks:
            writer.write(mask)
    data = COCO(str(tmp_path / "coco.json"))
    assert [image["file_name"] for image in data.loadImgs([1, 2, 3, 4, 5])] == [
        f"0000{index}.png" for index in range(5)
    ]
    assert data.loadCats(data.getCatIds()) == [{"id": 1, "name": "object", "supercategory": "object"}]
    for number, mask in enumerate(masks, 1):
        annotations = data.loadAnns(data.getAnnIds(imgIds=number))
        assert len(annotations) == mask.any()
        for annotation in annotations:
            np.testing.assert_array_equal(data.annToMask(annotation), mask)
            assert annotation["area"] == mask.sum()
            rows, columns = np.nonzero(mask)
            box = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
            assert annotation["bbox"] == list(box)
            assert (annotation["category_id"], annotation["iscrowd"]) == (1, 0)
    sizes = {(image["height"], image["width"]) for image in data.loadImgs(data.getImgIds())}
    assert sizes == {(48, 66)}


def test_the_command_writes_its_masks_and_the_names_of_the_images(checkpoint, folder, tmp_path):
    segment([folder], tmp_path / "out", checkpoint, save_coco=True, save_overlay=False, threshold=0.45)
    data = COCO(str(tmp_path / "out" / "coco.json"))
    assert [image["file_name"] for image in data.loadImgs(data.getImgIds())] == sorted(
        os.listdir(folder), key=lambda name: int(name[5:-4])
    )
    for image in data.loadImgs(data.getImgIds()):
        mask = cv2.imread(str(tmp_path / "out" / "masks" / image["file_name"]), cv2.IMREAD_UNCHANGED) > 0
        found = [data.annToMask(annotation) for annotation in data.loadAnns(data.getAnnIds(imgIds=image["id"]))]
        np.testing.assert_array_equal(sum(found, np.zeros_like(mask)), mask)


def test_no_object_at_all_and_an_interruption(tmp_path):
    video = open_video(encode(tmp_path / "a.mkv", make_frames(2)))
    with CocoWriter(tmp_path / "coco.json", video) as writer:
        for _ in range(2):
            writer.write(np.zeros((48, 66), bool))
    assert json.loads((tmp_path / "coco.json").read_text())["annotations"] == []
    before = (tmp_path / "coco.json").read_bytes()
    with pytest.raises(KeyboardInterrupt), CocoWriter(tmp_path / "coco.json", video) as writer:
        writer.write(np.ones((48, 66), bool))
        raise KeyboardInterrupt
    assert sorted(os.listdir(tmp_path)) == ["a.mkv", "coco.json"]
    assert (tmp_path / "coco.json").read_bytes() == before
