"""The file of scores: complete or not there."""

import json

import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.results_file import write_results

RESULTS = {"dataset": "davis16", "J": {"mean": 0.5}, "per_sequence": {"a": {"J": 0.5, "T": None}}}


def test_round_trip(tmp_path):
    path = tmp_path / "new/results.json"
    write_results(path, RESULTS)
    assert json.loads(path.read_text()) == RESULTS
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_what_is_no_json_leaves_the_old_file(tmp_path, value):
    path = tmp_path / "results.json"
    write_results(path, RESULTS)
    with pytest.raises(InputError, match=r"results\.json: the results cannot be written as JSON"):
        write_results(path, {**RESULTS, "J": value})
    assert json.loads(path.read_text()) == RESULTS
    assert len(list(tmp_path.iterdir())) == 1
