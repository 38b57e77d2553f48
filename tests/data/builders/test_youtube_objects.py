"""The layout of YouTube-Objects."""

from __future__ import annotations

from raw_datasets import draw_image, draw_mask, save

from cosnet_jax.data.builders.youtube_objects import YoutubeObjects
from cosnet_jax.evaluation.protocols import CATEGORIES


def test_sequences_are_named_after_category_video_and_shot(tmp_path):
    for category in CATEGORIES[:-2]:
        (tmp_path / category / "data").mkdir(parents=True)
    for shot, length, annotated in (("cat/data/0001/shots/001", 11, (1, 11)), ("train/data/0010/shots/001", 3, ())):
        for i in range(1, length + 1):
            save(tmp_path / shot / f"images/{i}.png", draw_image(i))
        for i in annotated:
            save(tmp_path / shot / f"labels/{i}.jpg", draw_mask(i).astype("uint8") * 255, quality=90)
    scan = YoutubeObjects.scan(tmp_path)
    frames = scan.splits["test"]
    assert list(dict.fromkeys(frame.sequence for frame in frames)) == ["cat_0001_001", "train_0010_001"]
    assert [frame.name for frame in frames[:11]] == [str(i) for i in range(1, 12)]  # 10 and 11 after 9
    assert [frame.name for frame in frames if frame.mask is not None] == ["1", "11"]
    mask = YoutubeObjects.read_mask(frames[10].mask)
    assert (mask != draw_mask(11)).mean() < 0.01  # JPEG blurs the edge by less than a pixel
    (problem,), (note,) = scan.problems, scan.notes
    assert "train/data/0010/shots/001/labels holds no mask" in problem
    assert "lacks the categories motorbike" in note and "train" not in note.rpartition("categories")[2]
    assert YoutubeObjects.scan(tmp_path / "cat").frames() == []
