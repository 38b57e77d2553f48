"""Sequences of prepared and synthetic datasets."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from raw_datasets import draw_image, draw_mask, make_config, make_stills, make_videos, save

from cosnet_jax.data.sequence import Sequence, evenly_spaced
from cosnet_jax.data.sequences import open_sequences, open_stills
from cosnet_jax.errors import InputError
from cosnet_jax.video.video import Video


def test_sequences_of_davis(davis, tmp_path):
    config = make_config(tmp_path / "prepared", davis16={"source": str(davis)})
    bear, cows = open_sequences("davis16", "train", config)
    assert (bear.name, len(bear), bear.frame_names) == ("bear", 4, ("00000", "00001", "00002", "00003"))
    assert bear.annotated == (0, 1, 2, 3) and (cows.name, len(cows)) == ("cows", 3)
    for i in range(3):
        expected = np.asarray(Image.open(davis / f"JPEGImages/480p/cows/{i:05d}.jpg")).astype(int)
        (image,), mask = cows.read([i]), cows.mask(i)
        assert image.dtype == np.uint8 and mask.dtype == bool
        # Two builds of the same JPEG library may round their inverse DCT differently.
        assert np.abs(image - expected).max() <= 3
        assert np.array_equal(mask, np.asarray(Image.open(davis / f"Annotations/480p/cows/{i:05d}.png")) > 0)
        assert all(map(np.array_equal, cows.frame_and_mask(i), (image, mask)))
    for dataset in ("davis16", "synthetic"):
        with pytest.raises(InputError, match=r"has no split 'test': expected one of train, val"):
            open_sequences(dataset, "test", config)
    for read in (cows.mask, cows.frame_and_mask, lambda i: cows.read([0, i])):
        for i in (-1, 3):
            with pytest.raises(IndexError, match=f"no frame {i} in a video of 3 frames"):
                read(i)


def test_a_sequence_opened_after_a_change_reads_the_new_records(davis, tmp_path):
    config = make_config(tmp_path / "prepared", davis16={"source": str(davis)})
    before = open_sequences("davis16", "val", config)[0].read([0])[0]
    save(davis / "JPEGImages/480p/camel/00000.jpg", draw_image(99), quality=95)
    after = open_sequences("davis16", "val", config)[0].read([0])[0]
    assert np.abs(after.astype(int) - draw_image(99)).mean() < 3 < np.abs(after.astype(int) - before).mean()


@pytest.mark.parametrize("dataset", ["davis16", "synthetic"])
def test_every_sequence_is_a_video_for_threads_and_processes(davis, tmp_path, dataset):
    config = make_config(tmp_path / "prepared", davis16={"source": str(davis)})
    (sequence, *_) = open_sequences(dataset, "val", config)
    for video in (sequence, evenly_spaced(sequence, 2)):
        frames = list(video)
        assert isinstance(video, Video)
        assert len(frames) == len(video) == len(video.frame_names) and video.size == frames[0].shape[:2]
        np.testing.assert_array_equal(video.read([1, 0, 1]), [frames[1], frames[0], frames[1]])
    sent = pickle.dumps(sequence)  # without the open files
    received = pickle.loads(sent)
    assert len(sent) < 2000 and received == sequence
    places = [i for i in range(len(sequence))] * 20
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(received.frame_and_mask, places))
    for i, (image, mask) in zip(places, found, strict=True):
        assert np.array_equal(image, sequence.read([i])[0]) and np.array_equal(mask, sequence.mask(i))


def make_sparse(tmp_path, length: int, annotated: tuple[int, ...]) -> Sequence:
    """Prepares a sequence in which only some frames have a mask."""
    make_videos(tmp_path / "set", {"cat": (length, annotated)})
    config = make_config(tmp_path / "prepared", videos={"source": str(tmp_path / "set")})
    (sequence,) = open_sequences("videos", "train", config)
    return sequence


@pytest.mark.parametrize(
    ("annotated", "count", "chosen"),
    [
        (range(7), 4, [0, 2, 4, 6]), ([0, 2, 5, 6], 3, [0, 5, 6]), ([3], 3, [0, 3, 6]), ([2], 0, range(7)),
    ],
)  # fmt: skip
def test_evenly_spaced_frames_are_a_sequence(tmp_path, annotated, count, chosen):
    whole = make_sparse(tmp_path, 7, tuple(annotated))
    part = evenly_spaced(whole, count)
    assert (part.name, part.size, len(part)) == (whole.name, whole.size, len(chosen))
    assert part.frame_names == tuple(f"{i}" for i in chosen)
    assert part.annotated == tuple(position for position, i in enumerate(chosen) if i in annotated)
    for position, i in enumerate(chosen):
        image, mask = part.frame_and_mask(position)
        np.testing.assert_array_equal(image, whole.read([i])[0])
        assert (mask is None) == (part.mask(position) is None) == (position not in part.annotated)
        assert mask is None or np.array_equal(mask, draw_mask(i))


def test_sets_of_stills(tmp_path):
    make_stills(tmp_path / "raw/DUTS-TR/DUTS-TR-Image", tmp_path / "raw/DUTS-TR/DUTS-TR-Mask", 3)
    for name in ("cats", "dogs"):
        make_stills(tmp_path / "own" / name / "images", tmp_path / "own" / name / "masks", 2)
    config = make_config(
        tmp_path / "prepared", train_stills="duts, stills,synthetic",
        duts={"source": str(tmp_path / "raw")}, stills={"source": str(tmp_path / "own")},
    )  # fmt: skip
    sets = open_stills(config)
    assert [(s.name, len(s)) for s in sets] == [("duts", 3), ("cats", 2), ("dogs", 2), ("synthetic", 8)]
    assert np.array_equal(sets[0].mask(2), draw_mask(2))
    assert all(s.annotated == tuple(range(len(s))) for s in sets)
    (tmp_path / "own/cats").rename(tmp_path / "own/synthetic")
    with pytest.raises(InputError, match=r"two sets of still images are called 'synthetic'"):
        open_stills(config)
