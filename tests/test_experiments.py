"""The pictures of experiments/: frames of evaluations, and strips."""

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
from tiny_network import tiny_synthetic

from cosnet_jax.config import as_stored
from experiments import pictures

ROOT = Path(__file__).parents[1]


def run(script: ModuleType, *arguments: str) -> None:
    """Runs a script as its command line does."""
    with mock.patch.object(sys, "argv", [script.__name__, *arguments]):
        script.main()


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
