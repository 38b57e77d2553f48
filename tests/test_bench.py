"""The benchmarks run, each in its smallest form; their figures mean nothing here."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
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
TINY = [f"--config.model.{key}={value}" for key, value in {"channels": 8, "head_features": 4, "aspp_depth": 4}.items()]
TINY = ["--config=configs/synthetic.py:smoke", "--config.model.blocks=4", *TINY, "--config.size=(32,32)"]


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


@pytest.mark.parametrize(
    ("seen", "shown"), [({1: 1, 2: 2, 4: 4}, [1, 2, 4]), ({1: 1, 2: 2, 4: 2}, [1, 2]), ({1: 0, 2: 2, 4: 2}, [2])]
)
def test_scaling_leaves_out_numbers_of_devices_that_the_machine_lacks(seen, shown, load, monkeypatch, capsys):
    """CUDA hides the devices from the first index on that does not exist: a process may see fewer than it asked for."""

    def run(command, env, **_):
        asked = int(command[-1].removeprefix("--on="))
        assert env["CUDA_VISIBLE_DEVICES"] == ",".join(map(str, range(asked)))
        return SimpleNamespace(stdout=f"{seen[asked]}\n0.5\n" if seen[asked] == asked else f"{seen[asked]}\n")

    scaling = load("scaling", "--devices", "1", "2", "4")
    monkeypatch.setattr(subprocess, "run", run)
    scaling.main()
    output, error = capsys.readouterr()
    assert [int(number) for number in re.findall(r"^ +(\d+) devices:", output, re.MULTILINE)] == shown
    assert error.count("left out") == 3 - len(shown)
    assert re.search(rf"{shown[0]} devices: .* 100\.0%", output)  # the others are relative to it


def test_scaling_needs_a_number_of_devices_that_the_machine_has(load, monkeypatch):
    scaling = load("scaling", "--devices", "4", "8")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="2\n"))
    with pytest.raises(SystemExit, match=r"--devices is \[4, 8\]; expected numbers of devices that this machine has"):
        scaling.main()


@pytest.mark.slow
def test_scaling_times_a_step_on_the_devices_asked_for_and_on_no_others(load, capsys):
    assert jax.device_count() == 4
    load("scaling", *TINY, "--batch-size=1", "--rounds=1", "--on=8").main()
    assert capsys.readouterr().out == "4\n"
    load("scaling", *TINY, "--batch-size=1", "--rounds=1", "--on=4").main()
    devices, seconds = capsys.readouterr().out.split()
    assert devices == "4" and float(seconds) > 0


def test_coattention(load, tmp_path, capsys):
    arguments = ["--sides", "4", "6", "--channels=8", "--budget=0.001", "--rounds=1", f"--json={tmp_path / 'x.json'}"]
    load("coattention", *arguments).main()
    stored = json.loads((tmp_path / "x.json").read_text())
    assert stored["settings"]["channels"] == 8 and stored["machine"].startswith("CPU")
    assert all(row["blocks"]["difference"] < 1e-4 for row in stored["results"].values())
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["16", "36"]


@pytest.mark.slow
def test_memory(load, capsys):
    load("memory", *TINY, "--setting=bfloat16, remat, 2 parts", "--pairs=4").main()
    title, _, *rows = capsys.readouterr().out.splitlines()
    assert title == "mobilenet_v2, 32x32, 4 pairs; GiB"
    assert [row[:28].strip() for row in rows] == ["bfloat16, remat, 2 parts"]


def test_data(load, capsys):
    load("data", *TINY, "--threads", "1", "--workers", "0", "--batches=1").main()
    (row,) = capsys.readouterr().out.splitlines()[1:]
    assert re.search(r"0 workers, 1 threads: +\d+ images a second, +[\d.]+ ms of the CPU an image", row)


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


@pytest.mark.slow
def test_crf(davis, load, monkeypatch, tmp_path, capsys):
    pytest.importorskip("pydensecrf")
    maps = tmp_path / "maps"  # of an earlier run, so that the network is not needed
    maps.mkdir()
    for name in ("bear", "cows"):
        mask = cv2.imread(str(davis / "Annotations/480p" / name / "00001.png"), cv2.IMREAD_GRAYSCALE)
        np.save(maps / f"{name}-1.npy", cv2.GaussianBlur(mask.astype(np.float32) / 255, (5, 5), 0)[None])
    arguments = [f"--davis={davis}", "--frames=2", "--workers=1", f"--maps={maps}"]
    crf = load("crf", *arguments, f"--json={tmp_path / 'crf.json'}")
    monkeypatch.setattr(crf, "peak_memory", crf.measure_memory)  # in this process instead of one of its own
    crf.main()
    results = json.loads((tmp_path / "crf.json").read_text())["results"]
    assert results["frames"] == 2 and results["equal_labels"]["worst"] > 0.99
    assert "| pydensecrf |" in capsys.readouterr().out


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
