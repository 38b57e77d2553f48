"""The scripts of experiments/: what bounds the references, and the pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import cv2
import numpy as np
import pytest
from PIL import Image
from raw_datasets import make_davis, save
from tiny_network import random_variables, tiny_synthetic

from cosnet_jax.checkpoints.load import load_checkpoint
from cosnet_jax.commands.ablate import score_options
from cosnet_jax.config import as_stored
from cosnet_jax.data.sequences import open_sequences
from cosnet_jax.evaluation.protocols import get_protocol
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.models.build import build_model
from experiments import pictures, reference_bounds

ROOT = Path(__file__).parents[1]


def run(script: ModuleType, *arguments: str) -> None:
    """Runs a script as its command line does."""
    with mock.patch.object(sys, "argv", [script.__name__, *arguments]):
        script.main()


@pytest.mark.slow
def test_bounds_of_the_references_begin_with_what_evaluations_say(tmp_path):
    config = tiny_synthetic(data_dir=str(tmp_path))
    config.model.reference_pooling = 2
    model, protocol = build_model(config.model), get_protocol("davis16")
    variables, sequences = random_variables(model), open_sequences("synthetic", "val", config.data)
    options_list = [InferenceConfig(0, edge_radius=0), InferenceConfig(5, edge_radius=0)]
    expected = score_options(Segmenter(model, variables, size=config.size), sequences, options_list, protocol)
    comparison = reference_bounds.Comparison(model, variables, config.size)
    scores = {sequence.name: comparison.score(sequence, protocol) for sequence in sequences}
    means = reference_bounds.mean_scores(scores)
    for row, options in zip(("alone", "five"), options_list, strict=True):
        # A pixel whose probability is one half to the last bits may fall either way.
        given = np.mean(list(means[row].values()))
        assert given == pytest.approx(expected[options]["J"]["mean"], abs=2e-3)
    for name, by_row in scores.items():
        assert len({len(values) for values in by_row.values()}) == 1
        larger = max(means["alone"][name], means["five"][name])
        assert means["frame"][name] >= means["sequence"][name] == larger
        assert means["grid"][name] > 0.5
    lines = list(reference_bounds.table(means))
    assert lines[0] == "| | J | val0000 | val0001 |" and len(lines) == 2 + len(reference_bounds.ROWS)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
def test_bounds_are_written_as_a_table_and_ask_for_coattention(checkpoint, tmp_path, monkeypatch, capsys):
    rows = {row: [0.25, 0.75] for row in reference_bounds.ROWS if row not in ("sequence", "frame")}
    monkeypatch.setattr(reference_bounds.Comparison, "score", lambda self, sequence, protocol: rows)
    stored = load_checkpoint(checkpoint)[1]
    given = [
        f"--config={ROOT / 'configs' / 'synthetic.py'}:smoke", f"--checkpoint={checkpoint}",
        f"--workdir={tmp_path}", f"--config.data.data_dir={tmp_path}",
        *(f"--config.model.{key}={value}" for key, value in stored.model.items()),
    ]  # fmt: skip
    run(reference_bounds, *given)
    text = (tmp_path / "bounds.md").read_text()
    assert text in capsys.readouterr().out and "| N = 5, uniform | 50.0 |" in text
    with pytest.raises(SystemExit):
        run(reference_bounds, *given, "--config.model.coattention=none")
    assert "coattention is 'none'; expected one of the co-attentions" in capsys.readouterr().err


def test_positions_are_of_the_object_where_their_surroundings_are():
    config = tiny_synthetic()
    config.model.reference_pooling = 2
    model = build_model(config.model)
    comparison = reference_bounds.Comparison(model, random_variables(model), (65, 65))
    truth = np.zeros((130, 130), np.uint8)
    # Pixels 12 to 35 and 28 to 64 of the input: positions 2 to 4 (16 to 32) and 4 to 8 (32 to 64).
    truth[24:72, 56:] = 1
    query, reference = (labels.astype(int) for labels in comparison.grids(truth, (9, 9)))
    expected = np.zeros((9, 9), int)
    expected[2:5, 4:] = 1
    np.testing.assert_array_equal(query.reshape(9, 9), expected)
    pooled = np.zeros((5, 5), int)
    pooled[1, 2:] = 1  # rows 2 and 3 are of it; of rows 4 and 5 only one is, which is no majority
    np.testing.assert_array_equal(reference.reshape(5, 5), pooled)


def test_pictures_show_the_middle_frames_of_the_best_and_worst_sequences(tmp_path, capsys):
    names = [f"v{number}" for number in range(7)]
    config = tiny_synthetic(data_dir=str(tmp_path / "prepared"))
    config.data.davis16.source = str(make_davis(tmp_path / "DAVIS", {"bear": 2}, dict.fromkeys(names, 3)))
    for name in names:
        prediction = np.zeros((40, 56), bool)
        prediction[5:15, 5:15] = True
        save(tmp_path / "masks" / name / "00001.png", prediction * np.uint8(255))
    scores = {name: {"J": [0.5, 0.9, 0.1, 0.6, 0.8, 0.2, 0.3][number]} for number, name in enumerate(names)}
    results = {"dataset": "davis16", "split": "val", "per_sequence": scores, "config": as_stored(config)}
    (tmp_path / "results.json").write_text(json.dumps(results))
    run(pictures, str(tmp_path), str(tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"v{number}.jpg" for number in (1, 4, 6, 5, 2)}
    shown = cv2.imread(str(tmp_path / "out" / "v1.jpg"))
    assert shown.shape[1] == pictures.WIDTH
    with pytest.raises(SystemExit):
        run(pictures, str(tmp_path / "out"), str(tmp_path / "out"))
    assert "results.json" in capsys.readouterr().err


def test_a_strip_shows_frames_beside_their_cutouts(tmp_path, capsys):
    for number, grey in enumerate((50, 200)):
        save(tmp_path / "frames" / f"{number}.jpg", np.full((40, 60, 3), grey, np.uint8))
        cutout = np.full((40, 60, 4), grey, np.uint8)
        cutout[..., 3] = 255 * (np.arange(60) < 30)  # the left half is the object
        save(tmp_path / "cutout" / f"{number}.png", cutout)
    folders = [str(tmp_path / name) for name in ("frames", "cutout", "strip.webp")]
    run(pictures, "--strip", *folders)
    with Image.open(tmp_path / "strip.webp") as strip:
        assert strip.n_frames == 2 and strip.size == (600, 200)
        picture = np.asarray(strip.convert("RGB"), int)
    assert abs(picture[:, :300] - 50).mean() < 5 and abs(picture[:, 300:440] - 50).mean() < 5
    assert picture[:, 475:].mean() > 200  # the pattern
    (tmp_path / "frames" / "1.jpg").unlink()
    with pytest.raises(SystemExit):
        run(pictures, "--strip", *folders)
    assert "expected *.png, each with a frame" in capsys.readouterr().err
