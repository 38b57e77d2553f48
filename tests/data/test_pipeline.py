"""Batches: order, shares of the processes, weights, and resuming."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from raw_datasets import make_config, make_davis, make_stills, make_videos

from cosnet_jax.data.pipeline import STREAMS, draw_partner, make_batches, set_weights
from cosnet_jax.data.sequences import (
    open_sequences,
    open_stills,
    open_train_sequences,
    open_validation_sequences,
)
from cosnet_jax.errors import InputError

SIZE = (32, 48)
VARIED = {"crop": 0.8, "scale": (0.8, 1.2), "flip": 0.5, "colour": 0.2}


def synthetic_config(tmp_path, **changes):
    return make_config(tmp_path, **{"train_videos": "synthetic", "train_stills": "synthetic"} | changes)


def take(stream, count: int) -> list[dict[str, np.ndarray]]:
    with_end = list(itertools.islice(stream, count))
    stream.close()
    return with_end


def same(first: list[dict], second: list[dict]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(a[key], b[key]) for a, b in zip(first, second, strict=True) for key in ("image", "mask")
    )


@pytest.mark.parametrize("kind", STREAMS)
def test_shapes_and_types(tmp_path, kind):
    config = synthetic_config(tmp_path, augment=VARIED)
    (batch,) = take(make_batches(kind, config, (40, 24), 4, seed=0), 1)
    axes = (4, 2, 40, 24) if kind == "video" else (4, 40, 24)
    assert set(batch) == {"image", "mask"}
    assert batch["image"].shape == (*axes, 3) and batch["image"].dtype == np.uint8
    assert batch["mask"].shape == axes and batch["mask"].dtype == np.uint8 and batch["mask"].max() == 1


@pytest.mark.parametrize("kind", STREAMS)
def test_batches_depend_only_on_seed_and_number(tmp_path, kind):
    streams = {
        threads: take(
            make_batches(kind, synthetic_config(tmp_path, augment=VARIED, threads=threads), SIZE, 4, seed=3), 12
        )
        for threads in (0, 1, 4)
    }
    assert same(streams[0], streams[1]) and same(streams[0], streams[4])
    other = take(make_batches(kind, synthetic_config(tmp_path, augment=VARIED), SIZE, 4, seed=4), 12)
    assert not same(streams[0][:1], other[:1])


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("stop", [0, 1, 7])
def test_a_resumed_stream_is_bitwise_identical(tmp_path, kind, stop):
    config = synthetic_config(tmp_path, augment=VARIED)
    whole = take(make_batches(kind, config, SIZE, 3, seed=1), 12)
    stream = make_batches(kind, config, SIZE, 3, seed=1)
    first = list(itertools.islice(stream, stop))
    state = json.loads(json.dumps(stream.get_state()))
    stream.close()
    config.threads = 0  # the state does not depend on how the batches are made
    resumed = make_batches(kind, config, SIZE, 3, seed=1)
    resumed.set_state(state)
    assert same(first + take(resumed, 12 - stop), whole)


@pytest.mark.parametrize("kind", STREAMS)
def test_processes_share_each_global_batch(tmp_path, kind):
    config = synthetic_config(tmp_path, augment=VARIED)
    whole = take(make_batches(kind, config, SIZE, 6, seed=2), 8)
    shares = [take(make_batches(kind, config, SIZE, 6, 2, (index, 3)), 8) for index in range(3)]
    for k, batch in enumerate(whole):
        parts = [share[k] for share in shares]
        assert all(len(part["image"]) == 2 for part in parts)
        # Example e of the batch goes to process e % 3.
        for e in range(6):
            assert np.array_equal(parts[e % 3]["image"][e // 3], batch["image"][e])
            assert np.array_equal(parts[e % 3]["mask"][e // 3], batch["mask"][e])


@pytest.mark.parametrize("kind", STREAMS)
def test_a_batch_size_that_processes_cannot_share_is_an_error(tmp_path, kind):
    with pytest.raises(InputError, match=r"batch size 6 cannot be shared by 4 processes"):
        make_batches(kind, synthetic_config(tmp_path), SIZE, 6, 0, (0, 4))


def test_an_epoch_has_every_still_once_in_a_new_order(tmp_path):
    config = synthetic_config(tmp_path)
    (stills,) = open_stills(config)
    identity = {stills.read([i])[0].tobytes(): i for i in range(8)}
    batches = take(make_batches("still", config, SIZE, 2, seed=0), 16)
    order = [identity[image.tobytes()] for batch in batches for image in batch["image"]]
    epochs = [tuple(order[start : start + 8]) for start in range(0, 32, 8)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert len(set(epochs)) == 4


def test_every_frame_is_the_first_of_a_pair_once_per_epoch(tmp_path):
    config = synthetic_config(tmp_path)
    place = {}
    for sequence in open_sequences("synthetic", "train", config):
        for i in range(len(sequence)):
            image, mask = sequence.frame_and_mask(i)
            place[image.tobytes()] = sequence.name, i
            place[image.tobytes(), "mask"] = mask
    starts, partners = [], []
    for batch in take(make_batches("video", config, SIZE, 3, seed=0), 18):
        for pair, masks in zip(batch["image"], batch["mask"], strict=True):
            (first, i), (second, j) = (place[image.tobytes()] for image in pair)
            assert first == second and i != j
            assert all(
                np.array_equal(place[image.tobytes(), "mask"], mask) for image, mask in zip(pair, masks, strict=True)
            )
            starts.append((first, i))
            partners.append((first, j))
    frames = {(f"train{n:04d}", i) for n in range(3) for i in range(6)}
    for epoch in (0, 18, 36):
        assert set(starts[epoch : epoch + 18]) == frames
    assert starts[:18] != starts[18:36] and partners[:18] != partners[18:36]


def test_every_other_frame_is_equally_likely_to_be_the_partner():
    rng = np.random.default_rng(0)
    drawn = [draw_partner((0, 1, 2, 5, 9), 2, rng) for _ in range(4000)]
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [0, 1, 5, 9]
    # Each frame is drawn 1000 times of 4000, with a standard deviation of 27.
    assert np.abs(counts - 1000).max() < 5 * 27
    assert draw_partner((7,), 0, rng) == 7


def test_still_pairs_are_two_variations_of_one_image(tmp_path):
    make_stills(tmp_path / "raw/shapes/images", tmp_path / "raw/shapes/masks", 4)
    config = synthetic_config(tmp_path / "data", train_stills="stills", still_pairs=0.25, threads=0)
    config.stills.source = str(tmp_path / "raw")
    images = list(open_stills(config)[0])
    batch = take(make_batches("video", config, images[0].shape[:2], 40, seed=0), 1)[0]["image"]  # augmentation is off
    from_stills = [[any(np.array_equal(frame, image) for image in images) for frame in pair] for pair in batch]
    assert [both for both in from_stills if both[0] != both[1]] == []
    assert sum(both[0] for both in from_stills) == 10
    assert all(np.array_equal(*pair) for pair, both in zip(batch, from_stills, strict=True) if both[0])
    config.augment.flip = 0.5
    batch = take(make_batches("video", config, images[0].shape[:2], 40, seed=0), 1)[0]["image"]
    assert any(np.array_equal(first, second[:, ::-1]) for first, second in batch)


def test_sequences_held_out_are_not_trained_on(tmp_path):
    config = synthetic_config(tmp_path)
    every = open_sequences("synthetic", "train", config)
    config.hold_out = f"{every[1].name}, {every[0].name}"
    (training,) = open_train_sequences(config).values()
    assert [sequence.name for sequence in training] == [sequence.name for sequence in every[2:]]
    assert [sequence.name for sequence in open_validation_sequences(config)] == [every[0].name, every[1].name]
    config.hold_out = "nobody"
    with pytest.raises(InputError, match=f"hold_out names 'nobody': expected one of {every[0].name}"):
        make_batches("video", config, SIZE, 4, seed=0)
    config.hold_out = ",".join(sequence.name for sequence in every)
    with pytest.raises(InputError, match="hold_out names all sequences"):
        make_batches("video", config, SIZE, 4, seed=0)


def test_the_frames_of_a_pair_are_varied_separately(tmp_path):
    make_davis(tmp_path / "DAVIS", {"still": 1, "one": 1}, {})
    config = make_config(
        tmp_path, davis16={"source": str(tmp_path / "DAVIS")}, augment={**VARIED, "flip": 0.0, "crop": 0.5}
    )
    batch = take(make_batches("video", config, SIZE, 8, seed=0), 1)[
        0
    ]  # the sequences have one frame: it is paired with itself
    assert all(not np.array_equal(a, b) for a, b in batch["image"])


def make_weighted(tmp_path, weights: str):
    for name, count, start in (("cats", 4, 0), ("dogs", 12, 100)):
        make_stills(tmp_path / "own" / name / "images", tmp_path / "own" / name / "masks", count, start)
    stills = {"source": str(tmp_path / "own")}
    return make_config(tmp_path / "prepared", stills=stills, still_weights=weights, threads=0)


@pytest.mark.parametrize(("weights", "share"), [("", 4 / 16), ("cats=3", 12 / 24), ("cats=0.5,dogs=2", 2 / 26)])
def test_sets_are_drawn_by_weight_times_size(tmp_path, weights, share):
    config = make_weighted(tmp_path, weights)
    cats = {still.tobytes() for still in open_stills(config)[0]}
    batches = take(make_batches("still", config, (40, 56), 26, seed=0), 4)
    from_cats = np.array([image.tobytes() in cats for batch in batches for image in batch["image"]])
    # The sets are interleaved evenly, not drawn at random: the count is off by one at most.
    assert abs(from_cats.sum() - share * from_cats.size) <= 1
    assert abs(from_cats[:39].sum() - share * 39) <= 1


def test_a_set_of_weight_0_is_not_used(tmp_path):
    config = make_weighted(tmp_path, "dogs=0")
    cats = {still.tobytes() for still in open_stills(config)[0]}
    assert all(
        image.tobytes() in cats for image in take(make_batches("still", config, (40, 56), 8, seed=0), 1)[0]["image"]
    )
    config.still_weights = "dogs=0,cats=0"
    with pytest.raises(InputError, match="nothing to train on"):
        make_batches("still", config, SIZE, 2, seed=0)


def make_sets_of_videos(tmp_path, davis, weights: str):
    make_videos(tmp_path / "own/pets", {"cat": (4, range(4)), "dog": (9, (1, 4, 8))})
    make_videos(tmp_path / "own/groups", {"cat": (5, range(5))}, start=50)
    return make_config(
        tmp_path / "prepared", train_videos="davis16, videos", davis16={"source": str(davis)},
        videos={"source": f"{tmp_path}/own/pets,{tmp_path}/own/groups"}, video_weights=weights, threads=0,
    )  # fmt: skip


# Annotated frames: davis16 has 7, pets 4 + 3, groups 5.
@pytest.mark.parametrize(("weights", "share"), [("", 12 / 19), ("davis16=3", 12 / 33), ("pets=0,groups=2", 10 / 17)])
def test_sets_of_videos_are_drawn_by_weight_times_annotated_frames(davis, tmp_path, weights, share):
    config = make_sets_of_videos(tmp_path, davis, weights)
    frames = {
        frame.tobytes(): sequence.name
        for name, sequences in open_train_sequences(config).items() if name != "davis16"
        for sequence in sequences for frame in sequence
    }  # fmt: skip
    found = []
    for batch in take(make_batches("video", config, (40, 56), 33, seed=0), 2):
        for first, second in batch["image"]:
            assert frames.get(first.tobytes()) == frames.get(second.tobytes())  # both of the same video or group
            found.append(frames.get(first.tobytes()))
        assert batch["mask"].any((2, 3)).all()  # unannotated frames are not drawn
    own = [name for name in found if name]
    assert abs(len(own) - share * len(found)) <= 2
    assert set(own) == {"groups_cat"} | (set() if "pets=0" in weights else {"pets_cat", "pets_dog"})


def test_sets_of_videos_need_different_names(davis, tmp_path):
    config = make_sets_of_videos(tmp_path, davis, "")
    make_videos(tmp_path / "other/davis16", {"a": (2, range(2))})
    config.videos.source = str(tmp_path / "other")
    with pytest.raises(InputError, match=r"two sets of videos are called 'davis16'"):
        open_train_sequences(config)


def test_wrong_weights_are_errors():
    names = ["duts", "cats"]
    assert set_weights("still_weights", " duts = 2 ", names) == {"duts": 2.0, "cats": 1.0}
    with pytest.raises(InputError, match=r"data.still_weights names 'dogs': expected one of duts, cats"):
        set_weights("still_weights", "dogs=1", names)
    for text in ("duts", "duts=", "duts=-1", "duts=many", "duts=inf", "duts=nan"):
        with pytest.raises(InputError, match=r"expected NAME=NUMBER"):
            set_weights("still_weights", text, names)
