"""Preparing datasets: the records, when they are written again, and errors for damaged sources."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from raw_datasets import HEIGHT, WIDTH, draw_image, draw_mask, make_davis, make_stills, make_videos, save

from cosnet_jax.data.builders.davis16 import Davis16
from cosnet_jax.data.prepare import describe_prepared, prepare
from cosnet_jax.errors import InputError


def when_written(davis: Path, tmp_path: Path) -> int:
    (folder,) = prepare("davis16", str(davis), str(tmp_path / "prepared"))
    return (folder / "dataset_info.json").stat().st_mtime_ns


def test_processes_that_start_together_share_one_preparation(davis, tmp_path):
    arguments = ("davis16", str(davis), str(tmp_path / "prepared"))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        with pytest.raises(InputError, match="unknown"):
            pool.apply(prepare, ("davis", "", ""))  # the process has imported everything
        other = pool.apply_async(prepare, arguments)
        assert prepare(*arguments) == other.get(60)
    assert [path.name for path in (tmp_path / "prepared/davis16").iterdir()] == ["1.1.0"]


def test_tfds_alone_reads_the_frames_in_order(davis, tmp_path):
    (davis / "Annotations/480p/cows/00002.png").unlink()  # the end of a sequence needs no mask
    (folder,) = prepare("davis16", str(davis), str(tmp_path / "prepared"))
    records = list(tfds.builder_from_directory(folder).as_data_source("train"))
    assert [(r["sequence"], r["frame"], int(r["index"]), bool(r["annotated"])) for r in records] == [
        (name, f"{i:05d}".encode(), k, k < 6)
        for k, (name, i) in enumerate([(b"bear", i) for i in range(4)] + [(b"cows", i) for i in range(3)])
    ]
    for record in records[:6]:
        frame = f"{record['sequence'].decode()}/{record['frame'].decode()}"
        image = np.asarray(Image.open(davis / f"JPEGImages/480p/{frame}.jpg")).astype(int)
        mask = np.asarray(Image.open(davis / f"Annotations/480p/{frame}.png"))
        # Two builds of the same JPEG library may round their inverse DCT differently.
        assert np.abs(record["image"] - image).max() <= 3
        assert np.array_equal(record["mask"][..., 0], mask)
    assert describe_prepared(folder) == [
        "train: 2 sequences, 7 frames, 6 of them annotated, 26.8% foreground",  # 20 x 30 of 40 x 56 pixels
        "val: 1 sequences, 3 frames, 3 of them annotated, 26.8% foreground",
    ]


def test_a_set_is_prepared_again_only_after_a_change(davis, tmp_path):
    first = when_written(davis, tmp_path)
    davis = Path(shutil.move(davis, tmp_path / "elsewhere"))
    assert when_written(davis, tmp_path) == first
    save(davis / "JPEGImages/480p/bear/00001.jpg", draw_image(77), quality=80)
    second = when_written(davis, tmp_path)
    assert second > first
    listing = davis / "ImageSets/480p/train.txt"
    listing.write_text("".join(listing.read_text().splitlines(keepends=True)[:-1]))
    assert when_written(davis, tmp_path) > second


def test_an_unknown_dataset_or_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"'davis' is unknown: expected one of davis16, "):
        prepare("davis", "", str(tmp_path))
    with pytest.raises(InputError, match=r"nowhere is not a folder"):
        prepare("davis16", str(tmp_path / "nowhere"), str(tmp_path))
    for dataset in ("davis16", "stills"):
        with pytest.raises(InputError, match=rf"config.data.{dataset}.source .*cosnet prepare {dataset} --source"):
            prepare(dataset, "", str(tmp_path))


IMAGE, MASK = "JPEGImages/480p/bear/00002.jpg", "Annotations/480p/bear/00002.png"


@pytest.mark.parametrize(
    ("damaged", "content", "message"),
    [
        (IMAGE, lambda data: data[:-200], r"is truncated \(\d+ bytes\)"),
        (MASK, lambda data: data[:60], "not a readable mask"),
        (IMAGE, lambda data: b"", "not a readable image"),
        (MASK, lambda data: b"mask", "not a readable mask"),
        (IMAGE, None, "cannot be read"),
    ],
)
def test_a_damaged_frame_is_named_and_nothing_is_written(davis, tmp_path, damaged, content, message):
    path = davis / damaged
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(content(data)) if content else path.mkdir()
    with pytest.raises(InputError, match=rf"{path}.*{message}"):
        prepare("davis16", str(davis), str(tmp_path / "prepared"))
    assert not list((tmp_path / "prepared").rglob("*.json"))


def test_all_problems_are_found_at_once_and_printed(davis, tmp_path, capsys):
    for i in range(4):
        save(davis / f"Annotations/480p/bear/{i:05d}.png", draw_mask(0, HEIGHT, WIDTH + 2).astype(np.uint8) * 255)
    with pytest.raises(InputError, match=r"bear/00000.png is 58x40 .*00000.jpg is 56x40.*; 3 more"):
        prepare("davis16", str(davis), str(tmp_path / "prepared"))
    assert capsys.readouterr().err.count("expected equal sizes") == 3


def test_names_that_are_not_utf8_are_problems(tmp_path):
    make_stills(tmp_path / "set/images", tmp_path / "set/masks", 1)
    for path in list((tmp_path / "set").glob("*/*")):
        path.rename(path.with_name(f"\udcff\n{path.name}"))
    with pytest.raises(InputError, match=r"images/\\udcff\\n0000.jpg: expected a name in UTF-8"):
        prepare("stills", str(tmp_path / "set"), str(tmp_path / "prepared"))


def test_an_interrupted_preparation_leaves_nothing_that_looks_prepared(davis, tmp_path, monkeypatch):
    prepare("davis16", str(davis), str(tmp_path / "prepared"))
    os.utime(davis / "JPEGImages/480p/bear/00001.jpg", ns=(0, 1))  # the set is outdated now
    real, calls = Davis16.read_mask, itertools.count(1)

    def interrupt(path):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(Davis16, "read_mask", staticmethod(interrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare("davis16", str(davis), str(tmp_path / "prepared"))
    assert not list((tmp_path / "prepared").rglob("*.json"))
    with pytest.raises(InputError, match="not prepared"):
        prepare("davis16", "", str(tmp_path / "prepared"))
    monkeypatch.undo()
    killed = tmp_path / "prepared/davis16/incomplete.ABCDEF_1.1.0"
    killed.mkdir(parents=True)
    (folder,) = prepare("davis16", str(davis), str(tmp_path / "prepared"))
    assert len(tfds.builder_from_directory(folder).as_data_source("train")) == 7 and not killed.exists()


def test_sets_of_stills_are_prepared_one_by_one(tmp_path):
    for name in ("cats", "dogs"):
        make_stills(tmp_path / "raw" / name / "images", tmp_path / "raw" / name / "masks", 2)
    source, data_dir = str(tmp_path / "raw"), str(tmp_path / "prepared")
    cats, dogs = prepare("stills", source, data_dir)
    written = (cats / "dataset_info.json").stat().st_mtime_ns
    make_stills(tmp_path / "raw/dogs/images", tmp_path / "raw/dogs/masks", 1, start=2)
    assert prepare("stills", source, data_dir) == [cats, dogs]
    assert (cats / "dataset_info.json").stat().st_mtime_ns == written
    assert [len(tfds.builder_from_directory(folder).as_data_source("train")) for folder in (cats, dogs)] == [2, 3]
    assert prepare("stills", "", data_dir) == [cats, dogs]
    assert prepare("stills", f"{source}/dogs, {source}/cats", data_dir) == [dogs, cats]
    make_stills(tmp_path / "more/dogs/images", tmp_path / "more/dogs/masks", 1)
    with pytest.raises(InputError, match=r"more/dogs and .*raw/dogs have the same name"):
        prepare("stills", f"{source},{tmp_path}/more", data_dir)
    with pytest.raises(InputError, match=r"prepared holds no frames: expected images \+ masks"):
        prepare("stills", data_dir, data_dir)


@pytest.mark.parametrize(
    ("dataset", "given", "right"),
    [
        ("davis16", "a", "a/DAVIS"), ("davis16", "a/DAVIS/JPEGImages/480p", "a/DAVIS"),
        ("dut_omron", "d/SET/DUT-OMRON-image", "d/SET"), ("stills", "d/SET/images", "d/SET"),
        ("videos", "c/SET/cat", "c/SET"),
    ],
)  # fmt: skip
def test_a_folder_level_too_many_or_too_few_is_named(tmp_path, dataset, given, right):
    make_davis(tmp_path / "a/DAVIS", {"bear": 2}, {"camel": 2})
    make_videos(tmp_path / "c/SET", {"cat": (2, (0, 1))})
    make_stills(tmp_path / "d/SET/images", tmp_path / "d/SET/masks", 2)
    make_stills(tmp_path / "d/SET/DUT-OMRON-image", tmp_path / "d/SET/pixelwiseGT-new-PNG", 1)
    with pytest.raises(InputError, match=rf"{given} .*{tmp_path}/{right} looks like it"):
        prepare(dataset, str(tmp_path / given), str(tmp_path / "prepared"))
    assert prepare(dataset, str(tmp_path / right), str(tmp_path / "prepared"))


@pytest.mark.skipif(not os.environ.get("COSNET_DATA"), reason="COSNET_DATA does not name a folder with the real DAVIS")
def test_the_real_davis(tmp_path):
    source = Path(os.environ["COSNET_DATA"]) / "DAVIS"
    (folder,) = prepare("davis16", str(source), str(tmp_path / "prepared"))
    assert re.match(r"train: 30 sequences, (587|2079) frames, \1 of them annotated, ", describe_prepared(folder)[0])
    index = tfds.builder_from_directory(folder).info.metadata["sequences"]["train"]
    bear = next(entry for entry in index if entry["name"] == "bear")
    record = tfds.builder_from_directory(folder).as_data_source("train")[bear["start"] + bear["frames"].index("00077")]
    stored = Image.open(source / "Annotations/480p/bear/00077.png")  # the one mask with an alpha channel
    assert "A" in stored.getbands()
    assert np.array_equal(record["mask"][..., 0] > 0, np.asarray(stored.convert("L")) > 0)
