"""The search for the CRF's parameters end to end, against the frames refined one by one."""

import json
import sys

import numpy as np
import pytest
from tiny_network import tiny_synthetic, write_checkpoint

from cosnet_jax import cli
from cosnet_jax.checkpoints.store import LATEST, load_checkpoint
from cosnet_jax.commands.search_crf import choose_frames, describe, search_crf
from cosnet_jax.data.sequences import open_sequences
from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.inference import crf
from cosnet_jax.inference.segmenter import InferenceOptions, Segmenter
from cosnet_jax.models.build import build_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A network as initialised."""
    return write_checkpoint(tiny_synthetic(), tmp_path_factory.mktemp("work") / LATEST)


def test_scores_are_those_of_each_frame_refined_alone(checkpoint, tmp_path, monkeypatch):
    grid = {"bilateral_sxy": (15.0, 20.0), "gaussian_compat": (2.0, 5.0)}
    monkeypatch.setattr("cosnet_jax.commands.search_crf.GRID", grid)
    config = tiny_synthetic()
    config.validate_frames = 3
    config.inference.num_references = 2
    config.inference.crf.iterations = 2
    text = search_crf(config, tmp_path, checkpoint)
    results = json.loads((tmp_path / "crf_search.json").read_text())
    assert len(results["settings"]) == 4  # the configuration's is one of them
    assert {line["iterations"] for line in results["settings"]} == {2}

    variables, _ = load_checkpoint(checkpoint)
    segmenter = Segmenter(build_model(config.model), variables, config.size, InferenceOptions(2, seed=config.seed))
    alone, last = [], []
    for sequence in open_sequences("synthetic", "val", config.data):
        maps = list(segmenter.stream(sequence))
        frames = [1, 4, 7]  # the first and the last of 9 do not count
        assert results["frames"][sequence.name] == [sequence.frame_names[i] for i in frames]
        params = crf.CRFParams(bilateral_sxy=20.0, gaussian_compat=5.0, iterations=2)
        refined = [crf.refine(next(iter(sequence.read([i]))), maps[i], params) for i in frames]
        alone.append(np.mean([jaccard(maps[i] > 0.5, sequence.mask(i)) for i in frames]))
        last.append(np.mean([jaccard(x > 0.5, sequence.mask(i)) for x, i in zip(refined, frames, strict=True)]))
    # A pixel whose probability is one half to the last bits may fall either way.
    assert results["without_crf"]["J"] == pytest.approx(np.mean(alone), abs=2e-3)
    assert list(results["without_crf"]["per_sequence"].values()) == pytest.approx(alone, abs=4e-3)
    setting = results["settings"][-1]
    assert (setting["bilateral_sxy"], setting["gaussian_compat"]) == (20, 5)
    assert setting["J"] == pytest.approx(np.mean(last), abs=2e-3)
    assert (results["settings"][0]["bilateral_sxy"], results["settings"][0]["gaussian_compat"]) == (15, 5)
    assert text.startswith("|  | bilateral_sxy | gaussian_compat | J | gain |")
    assert "Mean J of 6 frames of 2 sequences of synthetic; the best of 4 settings." in text
    assert text.endswith("crf_search.json")


@pytest.mark.parametrize(
    ("count", "expected"), [(0, [1, 2, 3, 4, 5, 6, 7]), (1, [1]), (2, [1, 7]), (99, [*range(1, 8)])]
)
def test_chosen_frames_are_spread_over_those_that_count(count, expected):
    sequence = open_sequences("synthetic", "val", tiny_synthetic().data)[0]
    assert choose_frames(sequence, "davis16", count) == expected


@pytest.mark.parametrize(
    ("scores", "advice"),
    [
        ((0.5, 0.625), "best: --config.inference.crf.bilateral_sxy=20 --config.inference.crf.bilateral_compat=8"),
        ((0.4, 0.3), "no setting is better than no CRF"),
    ],
)
def test_the_best_settings_come_first_and_the_best_is_given_as_flags(scores, advice, monkeypatch):
    monkeypatch.setattr("cosnet_jax.commands.search_crf.GRID", {"bilateral_sxy": (), "bilateral_compat": ()})
    lines = [{"bilateral_sxy": sxy, "bilateral_compat": 8, "J": J} for sxy, J in zip((15, 20), scores, strict=True)]
    results = {"dataset": "davis16", "frames": {"a": ["0", "5"]}, "without_crf": {"J": 0.45}, "settings": lines}
    lines = describe(results).splitlines()
    assert lines[2] == "| without CRF |  |  | 45.0 | +0.0 |"
    assert lines[3].startswith("| configuration | 15 | 8 |")
    first, second = (20, 15) if scores[1] > scores[0] else (15, 20)
    assert [line.split(" | ")[1] for line in lines[4:6]] == [str(first), str(second)]
    assert lines[4].startswith("| 1 |") and lines[5].startswith("| 2 |")
    assert lines[-1] == advice


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
def test_the_command_and_its_errors(checkpoint, tmp_path, capsys, monkeypatch):
    command = ["search-crf", "--config=configs/synthetic.py:smoke", "--workdir", str(tmp_path / "out")]
    given = []
    monkeypatch.setattr(
        "cosnet_jax.commands.search_crf.search_crf", lambda *arguments: given.append(arguments) or "table"
    )
    assert cli.main([*command, "--checkpoint", "x", "--config.validate_frames=5"]) == 0
    assert capsys.readouterr().out == "table\n"
    assert given[0][0].validate_frames == 5
    monkeypatch.undo()
    for flags, message in (
        (["--checkpoint", str(tmp_path / "none")], "none does not exist"),
        (["--checkpoint", str(checkpoint)], "is of another model than the configuration's"),
        (["--checkpoint", str(checkpoint), "--config.inference.crf.bilateral_srgb=-1.0"], "srgb is -1.0; expected"),
        (["--checkpoint", str(checkpoint), "--config.crf=1"], "crf"),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main([*command, *flags])
        assert ended.value.code == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1, error


def test_what_is_wrong_is_said_before_any_work(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(Segmenter, "segment", lambda *_, **__: pytest.fail("work began"))
    with pytest.raises(InputError, match=r"hold_out names 'bear': expected one of"):
        search_crf(tiny_synthetic(hold_out="bear"), tmp_path, checkpoint)
    config = tiny_synthetic()
    config.inference.crf.backend = "pydensecrf"
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(InputError, match="pip install pydensecrf2"):
        search_crf(config, tmp_path, checkpoint)
