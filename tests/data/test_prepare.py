"""Preparing datasets: the records, when they are written again, and errors for damaged sources."""

from __future__ import annotations

import contextlib
import io
import itertools
import multiprocessing
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from raw_datasets import HEIGHT, WIDTH, draw_image, draw_mask, make_stills, save

from cosnet_jax.data.builders.davis16 import Davis16
from cosnet_jax.data.prepare import describe_prepared, prepare
from cosnet_jax.errors import InputError
from cosnet_jax.files import claimed


def prepared_files(root: Path) -> set[str]:
    """Lists the files of prepared sets in a data_dir."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_a_second_preparation_waits_for_the_first_and_says_so(davis, tmp_path):
    root, said = tmp_path / "prepared", io.StringIO()
    root.mkdir()
    with ThreadPoolExecutor() as pool, contextlib.redirect_stderr(said):
        with claimed(root, ".davis16.lock", "prepares"):
            second = pool.submit(prepare, "davis16", str(davis), str(root))
            while "waiting for its end" not in said.getvalue() and not second.done():
                time.sleep(0.01)
            assert f"{root}: another process prepares there" in said.getvalue() and not second.done()
        assert second.result()[0].is_dir()


def test_tfds_alone_reads_the_frames_in_order(davis, tmp_path):
    (folder,) = prepare("davis16", str(davis), str(tmp_path / "prepared"))
    records = list(tfds.builder_from_directory(folder).as_data_source("train"))
    assert [(r["sequence"], r["frame"], int(r["index"])) for r in records] == [
        (name, f"{i:05d}".encode(), k)
        for k, (name, i) in enumerate([(b"bear", i) for i in range(4)] + [(b"cows", i) for i in range(3)])
    ]
    for record in records:
        frame = f"{record['sequence'].decode()}/{record['frame'].decode()}"
        image = np.asarray(Image.open(davis / f"JPEGImages/480p/{frame}.jpg")).astype(int)
        mask = np.asarray(Image.open(davis / f"Annotations/480p/{frame}.png"))
        # Two builds of the same JPEG library may round their inverse DCT differently.
        assert np.abs(record["image"] - image).max() <= 3
        assert np.array_equal(record["mask"][..., 0], mask) and record["annotated"]


def test_a_set_is_prepared_again_only_after_a_change(davis, tmp_path):
    def prepare_and_stat() -> int:
        (folder,) = prepare("davis16", str(davis), str(tmp_path / "prepared"))
        return (folder / "dataset_info.json").stat().st_mtime_ns

    first = prepare_and_stat()
    assert prepare_and_stat() == first
    frame = davis / "JPEGImages/480p/bear/00001.jpg"
    os.utime(frame, ns=(0, 123))
    second = prepare_and_stat()
    assert second > first
    save(frame, draw_image(77), quality=80)
    third = prepare_and_stat()
    assert third > second
    listing = davis / "ImageSets/480p/train.txt"
    listing.write_text("".join(listing.read_text().splitlines(keepends=True)[:-1]))
    assert prepare_and_stat() > third


def test_a_moved_source_is_not_prepared_again(davis, tmp_path):
    (folder,) = prepare("davis16", str(davis), str(tmp_path / "prepared"))
    written = (folder / "dataset_info.json").stat().st_mtime_ns
    moved = shutil.move(davis, tmp_path / "elsewhere")
    prepare("davis16", str(moved), str(tmp_path / "prepared"))
    assert (folder / "dataset_info.json").stat().st_mtime_ns == written


def test_neither_source_nor_prepared_set_is_an_error(tmp_path):
    for dataset in ("davis16", "stills"):
        with pytest.raises(InputError, match=rf"config.data.{dataset}.source .*cosnet prepare {dataset} --source"):
            prepare(dataset, "", str(tmp_path))


def test_an_unknown_dataset_or_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"'davis' is unknown: expected one of davis16, "):
        prepare("davis", "", str(tmp_path))
    with pytest.raises(InputError, match=r"nowhere is not a folder: expected the raw davis16 set"):
        prepare("davis16", str(tmp_path / "nowhere"), str(tmp_path))


def damage(davis: Path, kind: str) -> str:
    """Damages one frame; returns a pattern of the expected message."""
    image, mask = davis / "JPEGImages/480p/bear/00002.jpg", davis / "Annotations/480p/bear/00002.png"
    if kind == "truncated image":
        image.write_bytes(image.read_bytes()[:-200])
        return rf"{image} is truncated \(\d+ bytes\)"
    if kind == "truncated mask":
        mask.write_bytes(mask.read_bytes()[:-20])
        return rf"{mask} is truncated"
    if kind == "empty image":
        image.write_bytes(b"")
        return rf"{image}: not a readable image"
    if kind == "text for a mask":
        mask.write_text("mask")
        return rf"{mask}: not a readable mask"
    if kind == "folder for an image":
        image.unlink()
        image.mkdir()
        return rf"{image} not found"
    if kind == "mask of another size":
        save(mask, draw_mask(0, HEIGHT, WIDTH + 2).astype(np.uint8) * 255)
        return rf"{mask} is {WIDTH + 2}x{HEIGHT} .*, {image} is {WIDTH}x{HEIGHT}"
    image.unlink()
    return rf"{image} not found"


@pytest.mark.parametrize(
    "kind",
    [
        "truncated image",
        "truncated mask",
        "empty image",
        "text for a mask",
        "folder for an image",
        "mask of another size",
        "missing image",
    ],
)
def test_a_damaged_frame_is_named_and_nothing_is_written(davis, tmp_path, kind):
    message = damage(davis, kind)
    with pytest.raises(InputError, match=message) as error:
        prepare("davis16", str(davis), str(tmp_path / "prepared"))
    assert "\n" not in str(error.value)
    assert {path for path in prepared_files(tmp_path / "prepared") if "davis16/" in path} == set()


def test_all_problems_are_found_at_once_and_listed_in_a_file(davis, tmp_path):
    for i in range(4):
        path = davis / f"JPEGImages/480p/bear/{i:05d}.jpg"
        path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"davis16 has 4 problems, all of them listed in (\S+); the first: ") as error:
        prepare("davis16", str(davis), str(tmp_path / "prepared"))
    assert str(error.value).count("is truncated") == 3
    listed = (tmp_path / "prepared/davis16_problems.txt").read_text().splitlines()
    assert [f"bear/{i:05d}.jpg" in line for i, line in enumerate(listed)] == [True] * 4


def test_names_that_are_not_utf8_are_problems(tmp_path):
    folders = tmp_path / "set" / "images", tmp_path / "set" / "masks"
    make_stills(*folders, 4)
    for path in (path for folder in folders for path in list(folder.iterdir())):
        path.rename(path.with_name(f"\udcff\n{path.name}"))
    with pytest.raises(InputError, match=r"has 4 problems, all of them listed in .*0000.jpg: expected a name in UTF-8"):
        prepare("stills", str(tmp_path / "set"), str(tmp_path / "prepared"))
    listed = (tmp_path / "prepared/stills_set_problems.txt").read_text().splitlines()
    assert len(listed) == 4
    assert all(re.search(r"\\udcff\\n000\d.jpg: expected a name in UTF-8", line) for line in listed)


def test_an_interrupted_preparation_leaves_nothing_that_looks_prepared(davis, tmp_path, monkeypatch):
    prepare("davis16", str(davis), str(tmp_path / "prepared"))
    os.utime(davis / "JPEGImages/480p/bear/00001.jpg", ns=(0, 1))  # the set is outdated now
    real, calls = Davis16.read_target, itertools.count(1)

    def interrupt(frame):
        if next(calls) == 13:  # the first 10 calls check the frames
            raise KeyboardInterrupt
        return real(frame)

    monkeypatch.setattr(Davis16, "read_target", staticmethod(interrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare("davis16", str(davis), str(tmp_path / "prepared"))
    assert {path for path in prepared_files(tmp_path / "prepared") if "davis16/" in path} == set()
    with pytest.raises(InputError, match="not prepared"):
        prepare("davis16", "", str(tmp_path / "prepared"))
    monkeypatch.undo()
    (folder,) = prepare("davis16", str(davis), str(tmp_path / "prepared"))
    assert len(tfds.builder_from_directory(folder).as_data_source("train")) == 7


def test_remains_of_a_killed_preparation_are_removed(davis, tmp_path):
    left = tmp_path / "prepared/davis16/1.1.0.incompleteABC"
    left.mkdir(parents=True)
    (left / "dataset_info.json").write_text("{}")
    with pytest.raises(InputError, match="not prepared"):
        prepare("davis16", "", str(tmp_path / "prepared"))
    prepare("davis16", str(davis), str(tmp_path / "prepared"))
    assert [path.name for path in (tmp_path / "prepared/davis16").iterdir()] == ["1.1.0"]


def test_processes_that_start_together_share_one_preparation(davis, tmp_path):
    arguments = ("davis16", str(davis), str(tmp_path / "prepared"))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        with pytest.raises(InputError, match="unknown"):
            pool.apply(prepare, ("davis", "", ""))  # the process has imported everything
        other = pool.apply_async(prepare, arguments)
        assert prepare(*arguments) == other.get(60)
    assert [path.name for path in (tmp_path / "prepared/davis16").iterdir()] == ["1.1.0"]


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
    assert prepare("stills", f"{source}/dogs", data_dir) == [dogs]


def test_the_description_counts_sequences_and_frames(davis, tmp_path):
    (folder,) = prepare("davis16", str(davis), str(tmp_path / "prepared"))
    assert describe_prepared(folder) == [
        "train: 2 sequences, 7 frames, 7 of them annotated, 26.8% foreground",  # 20 x 30 of 40 x 56 pixels
        "val: 1 sequences, 3 frames, 3 of them annotated, 26.8% foreground",
    ]


@pytest.mark.skipif(not os.environ.get("COSNET_DATA"), reason="COSNET_DATA does not name a folder with the real DAVIS")
def test_the_real_davis(tmp_path):
    source = Path(os.environ["COSNET_DATA"]) / "DAVIS"
    (folder,) = prepare("davis16", str(source), str(tmp_path / "prepared"))
    listed = (source / "ImageSets/480p/train.txt").read_text().split()[::2]
    names = {Path(image).parent.name for image in listed}
    assert len(names) == 30 and len(listed) in (587, 2079)  # thinned to every fourth frame, or all
    count = f"{len(listed)} frames, {len(listed)} of them annotated"
    assert describe_prepared(folder)[0].startswith(f"train: 30 sequences, {count}, ")
    index = tfds.builder_from_directory(folder).info.metadata["sequences"]["train"]
    bear = next(entry for entry in index if entry["name"] == "bear")
    record = tfds.builder_from_directory(folder).as_data_source("train")[bear["start"] + bear["frames"].index("00077")]
    stored = Image.open(source / "Annotations/480p/bear/00077.png")  # the one mask with an alpha channel
    assert "A" in stored.getbands()
    assert np.array_equal(record["mask"][..., 0] > 0, np.asarray(stored.convert("L")) > 0)
    assert 0.01 < (record["mask"] > 0).mean() < 0.5
