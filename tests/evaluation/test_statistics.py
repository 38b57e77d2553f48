"""Mean, recall and decay against numbers worked out by hand."""

import numpy as np
import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.statistics import mean_over_sequences, mean_recall_decay


def test_four_frames():
    # Limits 1, 1.75, 2.5, 3.25, 4 -> frames 1, 2, 3, 3, 4: first quarter 1-2, last quarter 3-4.
    assert mean_recall_decay([1.0, 0.8, 0.6, 0.2]) == pytest.approx({"mean": 0.65, "recall": 0.75, "decay": 0.5})


def test_five_frames():
    # Limits 1, 2, 3, 4, 5: first quarter 1-2, last quarter 4-5.
    assert mean_recall_decay([0.9, 0.7, 0.5, 0.3, 0.1]) == pytest.approx({"mean": 0.5, "recall": 0.4, "decay": 0.6})


def test_seven_frames_round_halves_up():
    # Limits 1, 2.5, 4, 5.5, 7 -> frames 1, 3, 4, 6, 7: first quarter 1-3, last quarter 6-7.
    values = [0.9, 0.6, 0.3, 0.0, 0.0, 0.2, 0.4]
    assert mean_recall_decay(values) == pytest.approx({"mean": 2.4 / 7, "recall": 2 / 7, "decay": 0.3})


def test_three_hundred_frames_do_not_overflow_a_byte():
    # Limits 1, 75.75, 150.5, 225.25, 300 -> frames 1, 76, 151, 225, 300: first quarter 1-76, last quarter 225-300.
    values = np.arange(1, 301) / 300
    expected = {"mean": 150.5 / 300, "recall": 0.5, "decay": 38.5 / 300 - 262.5 / 300}
    assert mean_recall_decay(values) == pytest.approx(expected)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_frames(count):
    values = [0.75, 0.25, 0.5][:count]
    # One frame is both quarters. Two frames: limits 1, 1.25, 1.5, 1.75, 2 -> 1, 1, 2, 2, 2.
    # Three frames: limits 1, 1.5, 2, 2.5, 3 -> 1, 2, 2, 3, 3.
    decay = [0.0, 0.75 - 0.25, (0.75 + 0.25) / 2 - 0.5][count - 1]
    assert mean_recall_decay(values)["decay"] == pytest.approx(decay)


def test_recall_excludes_exactly_half():
    assert mean_recall_decay([0.5, 0.5, 0.5000001])["recall"] == pytest.approx(1 / 3)


def test_sequences_weigh_the_same():
    per_sequence = [mean_recall_decay([1.0]), mean_recall_decay([0.0, 0.0, 0.0])]
    assert mean_over_sequences(per_sequence) == {"mean": 0.5, "recall": 0.5, "decay": 0.0}


def test_nothing_is_an_error():
    with pytest.raises(InputError, match="at least one value"):
        mean_recall_decay([])
    with pytest.raises(InputError, match="at least one sequence"):
        mean_over_sequences([])
