"""The rules of the benchmarks on small hand-made cases."""

import numpy as np
import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.protocols import (
    average_categories,
    average_stability,
    category_of,
    evaluated_frames,
    get_protocol,
)

SOME, NONE, EMPTY = np.ones((2, 3), bool), None, np.zeros((2, 3), bool)


def annotated(truths):
    return {i: truth for i, truth in enumerate(truths) if truth is not None}


@pytest.mark.parametrize(
    ("protocol", "truths", "expected"),
    [
        ("davis16", [SOME, SOME, EMPTY, SOME], [1, 2]),
        ("videos", [SOME, NONE, EMPTY, SOME], [0, 2, 3]),
        ("davis16", [SOME, SOME, NONE], [1]),
        ("davis16", [NONE, SOME, SOME, SOME], [1, 2]),
        ("fbms", [SOME, NONE, EMPTY, SOME, NONE], [0, 3]),
        ("youtube_objects", [NONE, SOME, EMPTY, NONE], [1, 2]),
    ],
)
def test_evaluated_frames(protocol, truths, expected):
    assert evaluated_frames(get_protocol(protocol), annotated(truths), len(truths)) == expected


@pytest.mark.parametrize(
    ("protocol", "truths", "message"),
    [
        ("davis16", [SOME, NONE, SOME, SOME], "frame number 1 has no annotation"),
        ("davis16", [SOME, SOME], "2 of 2 frames are annotated; expected an annotated frame other"),
        ("fbms", [EMPTY, NONE], "at least 1 annotated frame with foreground"),
        ("youtube_objects", [NONE, NONE], "0 of 2 frames are annotated"),
    ],
)
def test_sequences_that_cannot_be_scored(protocol, truths, message):
    with pytest.raises(InputError, match=message):
        evaluated_frames(get_protocol(protocol), annotated(truths), len(truths))


def test_unknown_protocol():
    with pytest.raises(InputError, match=r"'davis17'.*davis16, fbms, youtube_objects"):
        get_protocol("davis17")


def test_categories():
    def statistics(mean):
        return {"mean": mean, "recall": 1.0, "decay": 0.0}

    averages = average_categories(
        {"train_0001_001": statistics(0.2), "cat_0001_001": statistics(0.5), "cat_0002_003": statistics(0.7)}
    )
    assert list(averages) == ["cat", "train"]
    assert averages["cat"]["mean"] == pytest.approx(0.6)
    assert averages["train"] == statistics(0.2)


@pytest.mark.parametrize("name", ["aeroplane_0001_001", "aeroplane0001", "aeroplane"])
def test_category_is_the_first_word(name):
    assert category_of(name) == "aeroplane"


@pytest.mark.parametrize("name", ["0001_cat", "catamaran_0001", "Cat_0001", ""])
def test_no_category(name):
    with pytest.raises(InputError, match="starts with no category"):
        category_of(name)


def test_stability_is_averaged_over_the_stable_sequences():
    averages = average_stability({"camel": 0.1, "libby": 0.9, "cows": 0.3, "soapbox": None})
    assert averages == {"mean": pytest.approx(0.2), "sequences": ["camel", "cows"]}
    assert average_stability({"a": 0.4, "b": 0.6, "c": None}) == {"mean": 0.5, "sequences": ["a", "b"]}
    assert average_stability({"a": None}) == {"mean": None, "sequences": []}
