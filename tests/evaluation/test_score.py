"""Scores of whole datasets against cases worked out by hand."""

import json

import numpy as np
import pytest
from memory_sequence import MemorySequence, moving_ellipses

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.results_file import write_results
from cosnet_jax.evaluation.score import score_masks
from cosnet_jax.evaluation.stability import temporal_instability


def strip(width):
    """Foreground in the first `width` of 20 columns."""
    mask = np.zeros((10, 20), bool)
    mask[:, :width] = True
    return mask


def named(masks):
    return {f"{i:05}": mask for i, mask in enumerate(masks)}


def test_davis_hand_worked(write_masks):
    # J is 1, 0.8, 0.4, 0.2 on the four evaluated frames; the first and the last frame would be 0.
    sequence = MemorySequence("a", [strip(10)] * 6)
    folder = write_masks({"a": named([strip(0), strip(10), strip(8), strip(4), strip(2), strip(0)])})
    results = score_masks([sequence], folder, metrics=("J",), processes=1, split="val", config={"seed": 1})
    assert results["J"] == pytest.approx({"mean": 0.6, "recall": 0.5, "decay": 0.9 - 0.3})
    assert results["per_sequence"]["a"] == pytest.approx({"J": 0.6, "J_recall": 0.5, "J_decay": 0.6})
    frames = ["00001", "00002", "00003", "00004"]
    assert results["per_frame"] == {"a": {"frames": frames, "J": pytest.approx([1.0, 0.8, 0.4, 0.2])}}
    assert (results["dataset"], results["split"], results["sequences"]) == ("davis16", "val", 1)
    assert results["config"] == {"seed": 1}
    assert "F" not in results and "T" not in results
    ends = MemorySequence("a", [None, *[strip(10)] * 4, None])  # they need no ground truth, but T the first
    results = score_masks([ends], folder, metrics=("J", "T"), processes=1)
    assert results["J"]["mean"] == pytest.approx(0.6) and results["T"]["mean"] is None


def test_sequences_weigh_the_same_whatever_their_length(write_masks):
    sequences = [MemorySequence("long", [strip(10)] * 9), MemorySequence("short", [strip(10)] * 3)]
    folder = write_masks({"long": named([strip(10)] * 9), "short": named([strip(5)] * 3)})
    results = score_masks(sequences, folder, metrics=("J",), processes=1)
    assert results["J"]["mean"] == pytest.approx((1 + 0.5) / 2)
    assert list(results["per_sequence"]) == ["long", "short"]


def test_fbms_evaluates_annotated_frames_with_foreground(write_masks):
    sequence = MemorySequence("cats01", [strip(10), None, strip(0), strip(10), None])
    folder = write_masks({"cats01": {"00000": strip(5), "00002": strip(20), "00003": strip(10)}})
    results = score_masks([sequence], folder, "fbms", ("J",), processes=1)
    assert results["per_frame"]["cats01"] == {"frames": ["00000", "00003"], "J": [0.5, 1.0]}
    assert results["J"]["mean"] == 0.75


def test_youtube_objects_has_both_averages(write_masks):
    widths = {"cat_0001_001": 10, "cat_0002_001": 5, "dog_0001_002": 1}
    sequences = [MemorySequence(name, [None, strip(10), None]) for name in widths]
    folder = write_masks({name: {"00001": strip(width)} for name, width in widths.items()})
    results = score_masks(sequences, folder, "youtube_objects", ("J", "F"), processes=1)
    assert results["J"]["mean"] == pytest.approx((1 + 0.5 + 0.1) / 3)
    assert results["over_categories"]["J"]["mean"] == pytest.approx((0.75 + 0.1) / 2)
    assert {name: scores["J"] for name, scores in results["per_category"].items()} == pytest.approx(
        {"cat": 0.75, "dog": 0.1}
    )
    assert set(results["per_category"]["cat"]) == set(results["over_categories"]) == {"J", "F"}


def test_stability_starts_from_the_first_ground_truth(write_masks):
    def block(height, width):
        mask = np.zeros((40, 60), bool)
        mask[5 : 5 + height, 5 : 5 + width] = True
        return mask

    truths = [block(20, 30)] * 5
    predictions = [block(1, 1), block(20, 40), block(30, 30), block(20, 30), block(1, 1)]
    folder = write_masks({"camel": named(predictions), "other": named([block(0, 0)] * 5)})
    sequences = [MemorySequence("camel", truths), MemorySequence("other", truths)]
    results = score_masks(sequences, folder, metrics=("T",), processes=1)
    expected = temporal_instability(truths[0], predictions[1:4])
    assert expected > 0.1
    assert results["T"] == {"mean": pytest.approx(expected), "sequences": ["camel"]}
    assert results["per_sequence"]["other"] == {"T": None}


def shifted(sequence):
    """Its masks, three pixels to the right, by frame name."""
    return {name: np.roll(mask, 3, axis=1) for name, mask in zip(sequence.frame_names, sequence.masks, strict=True)}


def test_processes_give_what_one_gives(write_masks):
    sequences = [moving_ellipses(f"video{number}", 4 + number % 2, number) for number in range(3)]
    folder = write_masks({sequence.name: shifted(sequence) for sequence in sequences})
    alone = score_masks(sequences, folder, metrics=("J", "F", "T"), processes=1)
    together = score_masks(sequences, folder, metrics=("J", "F", "T"), processes=2)
    assert together == alone
    assert list(together["per_sequence"]) == ["video0", "video1", "video2"]
    assert 0 < alone["J"]["mean"] < 1


def test_errors_of_worker_processes_arrive(write_masks):
    sequences = [moving_ellipses(f"video{number}") for number in range(2)]
    folder = write_masks({sequence.name: shifted(sequence) for sequence in sequences})
    path = folder / "video1/00002.png"
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 8] ^= 255
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"video1/00002\.png: not a readable mask"):
        score_masks(sequences, folder, processes=2)


def test_nothing_to_find_is_not_perfect(write_masks):
    folder = write_masks({"a": named([strip(0)] * 5)})
    with pytest.raises(InputError, match="nothing to find"):
        score_masks([MemorySequence("a", [strip(0)] * 5)], folder, processes=1)
    some = score_masks([MemorySequence("a", [strip(0), strip(5), strip(0), strip(0), strip(0)])], folder, processes=1)
    assert some["empty"] == 2


def test_results_can_be_written(write_masks, tmp_path):
    folder = write_masks({"a": named([strip(0)] * 4)})
    results = score_masks([MemorySequence("a", [strip(10)] * 4)], folder, metrics=("J", "F", "T"), processes=1)
    write_results(tmp_path / "results.json", results)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert results["T"]["mean"] is None


@pytest.mark.parametrize(
    ("protocol", "metrics", "message"),
    [
        ("fbms", ("J", "T"), "expected some of J, F for fbms$"),
        ("davis16", ("J", "mae"), r"evaluation.metrics are \['J', 'mae'\]; expected some of J, F, T for davis16"),
        ("davis16", (), r"metrics are \[\]"),
        ("davis", ("J",), "unknown protocol 'davis'"),
        ("youtube_objects", ("J",), "'a' starts with no category"),
    ],
)
def test_what_cannot_be_scored(write_masks, protocol, metrics, message):
    folder = write_masks({"a": named([strip(3)] * 4)})
    with pytest.raises(InputError, match=message):
        score_masks([MemorySequence("a", [strip(3)] * 4)], folder, protocol, metrics, processes=1)


def test_sequences_that_cannot_be_scored(write_masks):
    folder = write_masks({"a": named([strip(3)] * 4)})
    with pytest.raises(InputError, match="no sequences"):
        score_masks([], folder)
    with pytest.raises(InputError, match="'a': 2 of 2 frames are annotated"):
        score_masks([MemorySequence("a", [strip(3)] * 2)], folder)
    with pytest.raises(InputError, match="'a': 0 of 4 frames are annotated"):
        score_masks([MemorySequence("a", [None] * 4)], folder)
    with pytest.raises(InputError, match="sequence 'a': frame number 2 has no annotation"):
        score_masks([MemorySequence("a", [strip(3), strip(3), None, strip(3)])], folder, processes=1)
