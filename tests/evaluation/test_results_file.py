"""The file of scores: complete or not there."""

import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.results_file import read_results, write_results

RESULTS = {"dataset": "davis16", "J": {"mean": 0.5}, "per_sequence": {"a": {"J": 0.5, "T": None}}}


def test_round_trip(tmp_path):
    path = tmp_path / "new/results.json"
    write_results(path, RESULTS)
    assert read_results(path) == RESULTS
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_what_is_no_json_leaves_the_old_file(tmp_path, value):
    path = tmp_path / "results.json"
    write_results(path, RESULTS)
    with pytest.raises(InputError, match=r"results\.json: the results cannot be written as JSON"):
        write_results(path, {**RESULTS, "J": value})
    assert read_results(path) == RESULTS
    assert len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: cannot be written to"):
        write_results(tmp_path / "file" / "results.json", RESULTS)
    (tmp_path / "results.json").mkdir()
    with pytest.raises(InputError, match=r"results\.json: cannot be written \(Is a directory\)"):
        write_results(tmp_path / "results.json", RESULTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "results.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "cannot be read"), ("{", "not JSON"), ("[]", "not the results"), ('{"J": 1}', "not the results")],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "results.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_results(path)
