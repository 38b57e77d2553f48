"""The benchmarks run, each in its smallest form; their figures mean nothing here."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jax
import pytest

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
ROOT = Path(__file__).parents[1]
BENCH = ROOT / "bench"
TINY = [f"--config.model.{key}={value}" for key, value in {"channels": 8, "head_features": 4, "aspp_depth": 4}.items()]
TINY = ["--config=configs/synthetic.py:smoke", "--config.model.blocks=4", *TINY, "--config.size=(32,32)"]


@pytest.fixture
def load(monkeypatch):
    """A function that imports a file of bench/ with the arguments of its command line."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(BENCH)  # for `report`, which all of them import

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


def test_scaling_times_a_step_on_the_devices_asked_for_and_on_no_others(load, capsys):
    assert jax.device_count() == 4
    load("scaling", *TINY, "--batch-size=1", "--rounds=1", "--on=8").main()
    assert capsys.readouterr().out == "4\n"
    load("scaling", *TINY, "--batch-size=1", "--rounds=1", "--on=4").main()
    devices, seconds = capsys.readouterr().out.split()
    assert devices == "4" and float(seconds) > 0
