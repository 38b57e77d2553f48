"""Batches: order, shares of the processes, weights, and resuming."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from raw_datasets import make_config, make_stills, make_videos

from cosnet_jax.data.pipeline import draw_partner, make_batches, set_weights
from cosnet_jax.data.sequences import open_sequences, open_stills, open_train_sequences, open_validation_sequences
from cosnet_jax.errors import InputError

SIZE = (32, 48)
VARIED = {"crop": 0.8, "scale": (0.8, 1.2), "flip": 0.5, "colour": 0.2}


def synthetic_config(tmp_path, **changes):
    return make_config(tmp_path, **{"train_videos": "synthetic", "train_stills": "synthetic"} | changes)


def take(count: int, *arguments, start: dict | None = None) -> tuple[list[dict[str, np.ndarray]], dict]:
    """Makes batches; returns some and the state after them. `start` is such a state."""
    stream = make_batches(*arguments)
    if start:
        stream.set_state(json.loads(json.dumps(start)))
    batches, state = list(itertools.islice(stream, count)), stream.get_state()
    stream.close()
    return batches, state


def same(first: list[dict], second: list[dict]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(a[key], b[key]) for a, b in zip(first, second, strict=True) for key in ("image", "mask")
    )


@pytest.mark.parametrize("kind", ["still", "video"])
def test_batches_depend_only_on_seed_and_number(tmp_path, kind):
    config = synthetic_config(tmp_path, augment=VARIED)
    whole, _ = take(12, kind, config, SIZE, 4, 3)
    axes = (4, 2, *SIZE) if kind == "video" else (4, *SIZE)
    for batch in whole:
        assert set(batch) == {"image", "mask"}
        assert batch["image"].shape == (*axes, 3) and batch["image"].dtype == np.uint8
        assert batch["mask"].shape == axes and batch["mask"].dtype == np.uint8 and batch["mask"].max() == 1
    for stop in (0, 1, 7):  # a resumed stream goes on bitwise identically, with any number of threads
        config.threads = stop
        first, state = take(stop, kind, config, SIZE, 4, 3)
        assert same(first + take(12 - stop, kind, config, SIZE, 4, 3, start=state)[0], whole)
    assert not same(take(1, kind, config, SIZE, 4, 4)[0], whole[:1])


@pytest.mark.parametrize("kind", ["still", "video"])
def test_processes_share_each_global_batch(tmp_path, kind):
    config = synthetic_config(tmp_path, augment=VARIED)
    whole, _ = take(4, kind, config, SIZE, 6, 2)
    shares = [take(4, kind, config, SIZE, 6, 2, (index, 3))[0] for index in range(3)]
    for k, batch in enumerate(whole):
        for e in range(6):  # example e of the batch goes to process e % 3
            assert all(np.array_equal(shares[e % 3][k][key][e // 3], batch[key][e]) for key in batch)
    with pytest.raises(InputError, match=r"batch size 6 cannot be shared by 4 processes"):
        make_batches(kind, config, SIZE, 6, 0, (0, 4))


def test_every_frame_is_the_first_of_a_pair_once_per_epoch(tmp_path):
    config = synthetic_config(tmp_path)
    place = {}
    for sequence in open_sequences("synthetic", "train", config):
        for i in range(len(sequence)):
            image, mask = sequence.frame_and_mask(i)
            place[image.tobytes()] = sequence.name, i, mask
    starts, partners = [], []
    for batch in take(18, "video", config, SIZE, 3, 0)[0]:
        for pair, masks in zip(batch["image"], batch["mask"], strict=True):
            (first, i, mask), (second, j, other) = (place[image.tobytes()] for image in pair)
            assert first == second and i != j
            assert np.array_equal(masks, [mask, other])
            starts.append((first, i))
            partners.append((first, j))
    frames = {(f"train{n:04d}", i) for n in range(3) for i in range(6)}
    assert all(set(starts[epoch : epoch + 18]) == frames for epoch in (0, 18, 36))
    assert starts[:18] != starts[18:36] and partners[:18] != partners[18:36]


def test_every_other_frame_is_equally_likely_to_be_the_partner():
    rng = np.random.default_rng(0)
    values, counts = np.unique([draw_partner((0, 1, 2, 5, 9), 2, rng) for _ in range(4000)], return_counts=True)
    assert values.tolist() == [0, 1, 5, 9]
    # Each frame is drawn 1000 times of 4000, with a standard deviation of 27.
    assert np.abs(counts - 1000).max() < 5 * 27
    assert draw_partner((7,), 0, rng) == 7


def test_still_pairs_are_two_variations_of_one_image(tmp_path):
    make_stills(tmp_path / "raw/shapes/images", tmp_path / "raw/shapes/masks", 4)
    stills = {"source": str(tmp_path / "raw")}
    config = synthetic_config(tmp_path / "data", train_stills="stills", still_pairs=0.25, stills=stills)
    images = {image.tobytes() for image in open_stills(config)[0]}
    for flip in (0.0, 0.5):  # other augmentation is off
        config.augment.flip = flip
        ((batch,), _) = take(1, "video", config, (40, 56), 40, 0)
        pairs = [[image for image in pair] for pair in batch["image"]]
        drawn = [pair for pair in pairs if {pair[0].tobytes(), pair[0][:, ::-1].tobytes()} & images]
        assert len(drawn) == 10
        mirrored = [np.array_equal(first, second[:, ::-1]) for first, second in drawn]
        assert any(mirrored) == (flip > 0)
        assert all(np.array_equal(*pair) or mirror for pair, mirror in zip(drawn, mirrored, strict=True))


def test_sequences_held_out_are_not_trained_on(tmp_path):
    config = synthetic_config(tmp_path)
    names = [sequence.name for sequence in open_sequences("synthetic", "train", config)]
    config.hold_out = f"{names[1]}, {names[0]}"
    (training,) = open_train_sequences(config).values()
    assert [sequence.name for sequence in training] == names[2:]
    assert [sequence.name for sequence in open_validation_sequences(config)] == names[:2]
    for hold_out, message in (
        ("nobody", f"names 'nobody': expected one of {names[0]}"),
        (",".join(names), "names all"),
    ):
        config.hold_out = hold_out
        with pytest.raises(InputError, match=f"hold_out {message}"):
            make_batches("video", config, SIZE, 4, 0)


# Annotated frames: davis16 has 7, pets 4 + 3, groups 5.
@pytest.mark.parametrize(("weights", "share"), [("", 12 / 19), ("davis16=3", 12 / 33), ("pets=0,groups=2", 10 / 17)])
def test_sets_are_drawn_by_weight_times_annotated_frames(davis, tmp_path, weights, share):
    make_videos(tmp_path / "own/pets", {"cat": (4, range(4)), "dog": (9, (1, 4, 8))})
    make_videos(tmp_path / "own/groups", {"cat": (5, range(5))}, start=50)
    config = make_config(
        tmp_path / "prepared", train_videos="davis16, videos", davis16={"source": str(davis)},
        videos={"source": f"{tmp_path}/own/pets,{tmp_path}/own/groups"}, video_weights=weights,
    )  # fmt: skip
    sets = open_train_sequences(config)
    frames = {image.tobytes(): each.name for name in ("pets", "groups") for each in sets[name] for image in each}
    found = []
    for batch in take(2, "video", config, (40, 56), 33, 0)[0]:
        for first, second in batch["image"]:
            assert frames.get(first.tobytes()) == frames.get(second.tobytes())  # both of the same video or group
            found.append(frames.get(first.tobytes()))
        assert batch["mask"].any((2, 3)).all()  # unannotated frames are not drawn
    own = [name for name in found if name]
    assert abs(len(own) - share * len(found)) <= 2  # interleaved evenly, not drawn at random
    assert set(own) == {"groups_cat"} | (set() if "pets=0" in weights else {"pets_cat", "pets_dog"})
    config.video_weights = "davis16=0,pets=0,groups=0"
    with pytest.raises(InputError, match="nothing to train on"):
        make_batches("video", config, SIZE, 2, 0)
    (tmp_path / "own/pets").rename(tmp_path / "own/davis16")
    config.videos.source = f"{tmp_path}/own"
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
