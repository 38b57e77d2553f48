"""The benchmarks run, each in its smallest form; their figures mean nothing here."""

from __future__ import annotations

import importlib.util
import itertools
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import jax
import numpy as np
import pytest
from raw_datasets import make_davis

from cosnet_jax.models import resnet

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
ROOT = Path(__file__).parents[1]
BENCH = ROOT / "bench"


@pytest.fixture
def load(monkeypatch):
    """A function that imports a file of bench/ with the arguments of its command line."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(BENCH)  # for `report`

    def load(name: str, *arguments: str) -> ModuleType:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)  # where its named tuples look for themselves
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def davis(tmp_path):
    """DAVIS-2016 with two sequences of a few frames."""
    return make_davis(tmp_path / "DAVIS", {}, {"bear": 4, "cows": 5})


def test_score(davis, load, monkeypatch, capsys):
    threads = cv2.getNumThreads()
    score = load("score", f"--davis={davis}", "--stability")
    monkeypatch.setattr(score, "usable_cores", lambda: 1)
    try:
        score.main()
    finally:
        cv2.setNumThreads(threads)
    output = capsys.readouterr().out
    assert "J and F of 2 sequences, 9 frames" in output
    differences = re.findall(r"largest difference of a frame's score: (\S+)", output)
    assert len(differences) == 2 and max(map(float, differences)) < 1e-9
    assert len(re.findall(r"pairs a second", output)) == 2


@pytest.fixture
def shallow(monkeypatch):
    """Gives our ResNets and the twin one block a layer, and leaves the settings of torch as they were."""
    torch = pytest.importorskip("torch", reason="times PyTorch")
    from cosnet_jax.interop import twin

    depths = (1, 1, 1, 1)
    for name in resnet.DEPTHS:
        monkeypatch.setitem(resnet.DEPTHS, name, depths)
    monkeypatch.setattr(twin.PairModel.__init__, "__defaults__", (depths,))
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


@pytest.mark.slow
def test_segment(shallow, load, capsys):
    arguments = ["--size", "33", "33", "--frames=2", "--baseline-frames=1", "--num-references=1", "--batch-size=1"]
    load("segment", *arguments).main()
    difference = re.search(r"largest difference of a probability: (\S+)", capsys.readouterr().out)
    assert float(difference[1]) < 2e-5


def test_train(shallow, load, monkeypatch, capsys):
    """All but the steps themselves, whose layers have the released widths and take a minute to compile."""
    arguments = ["--size", "33", "33", "--batch-size=4", "--rounds=1", "--skip-compiled", "--matrix-side=64"]
    train = load("train", *arguments)
    fed = (train.Seconds(1.0, 1.0), 0.25)
    ours = SimpleNamespace(begin=lambda batch: batch["mask"].size / 4, fed=lambda *_: fed)
    monkeypatch.setattr(train, "Ours", lambda *_: ours)
    monkeypatch.setattr(train, "Twin", lambda _, batch, *__: SimpleNamespace(step=lambda: batch["mask"].size / 4))
    monkeypatch.setattr(jax, "device_count", lambda: 1)  # it refuses to compare the four of the tests with one
    train.main()
    output = capsys.readouterr().out
    rows = re.findall(r"^(cosnet_jax|PyTorch, eager|fed) ", output, re.MULTILINE)
    assert rows == ["cosnet_jax", "PyTorch, eager", "fed"]
    assert "25.0%" in output and "largest relative difference of a loss: 0.0e+00" in output


def test_segment_video_times_every_part(load, monkeypatch, tmp_path, capsys):
    """Without the processes, which take a minute."""
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((48, 64, 3), 90, np.uint8))
    bench = load("segment_video", str(tmp_path))
    seconds = itertools.count(1.0)
    monkeypatch.setattr(bench, "measure", lambda *_: (next(seconds), next(seconds), 1))
    bench.main()
    assert len(re.findall(r"CPU ms a frame", capsys.readouterr().out)) == 7
