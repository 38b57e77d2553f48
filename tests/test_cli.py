"""The command line: what is printed, the exit status, and errors of one line."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from cosnet_jax import cli
from cosnet_jax.interop.convert import Conversion
from cosnet_jax.interop.parity import StageDifference
from cosnet_jax.interop.presets import PRESETS
from cosnet_jax.interop.pth import write_pth


def test_the_program_names_its_commands():
    done = subprocess.run([sys.executable, "-m", "cosnet_jax", "--help"], capture_output=True, text=True, check=True)
    for command in ("convert", "export", "compare", "segment", "explain", "ablate", "prepare"):
        assert f"\n  {command}" in done.stdout or f" {command} " in done.stdout


def test_convert_says_what_it_wrote(monkeypatch, capsys):
    def fake(weights, output, preset):
        given.append((weights, output, preset))
        initial_parts = {"affinity": 1, "gate": 2} if preset == "deeplab" else {}
        return Conversion(output, PRESETS[preset].to_config(), initial_parts)

    given = []
    monkeypatch.setattr("cosnet_jax.commands.convert.convert", fake)
    assert cli.main(["convert", "x.pth", "--output", "folder"]) == 0
    assert cli.main(["convert", "x.pth", "--output", "folder", "--preset", "deeplab"]) == 0
    assert given == [("x.pth", "folder", "released"), ("x.pth", "folder", "deeplab")]
    line = "folder: resnet101, configuration davis16_released, fusion prediction\n"
    assert capsys.readouterr().out == line + line + "kept at initial values: affinity, gate (3 arrays)\n"


def test_errors_are_one_line_and_status_1(tmp_path, capsys):
    write_pth(tmp_path / "x.pth", {"other": np.zeros(3, np.float32)})
    for arguments, message in (
        (["convert", str(tmp_path / "none.pth"), "--output", str(tmp_path / "out")], "cannot be read"),
        (["convert", str(tmp_path / "x.pth"), "--output", str(tmp_path / "out")], "missing gate.weight; "),
        (["convert", str(tmp_path / "x.pth"), "--output", str(tmp_path)], "expected a new or empty folder"),
        (["export", str(tmp_path / "none"), "--output", str(tmp_path / "y.pth")], "does not exist"),
        (["compare", str(tmp_path / "x.pth"), "--size", "9", "99"], "--size is (9, 99); expected at least 17"),
        (["prepare", "davis17"], "dataset 'davis17' is unknown"),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 1
        output = capsys.readouterr()
        assert output.err.startswith("error: ") and message in output.err and output.err.count("\n") == 1, arguments
        assert output.out == ""


@pytest.mark.parametrize(("worst", "status"), [(0.9e-4, 0), (1.1e-4, 1), (float("nan"), 1)])
def test_compare_fails_above_the_tolerance(monkeypatch, capsys, worst, status):
    rows = [StageDifference("stem_a", 3e-4, 1e-7), StageDifference("layer1_a", 0.5, worst)]
    monkeypatch.setattr("cosnet_jax.commands.compare.compare_with_torch", lambda weights, size: rows)
    assert cli.main(["compare", "x.pth", "--size", "95", "127"]) == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["stem_a", "3.0e-04", "1.0e-07"]
    assert ("above the tolerance" in lines[2]) == bool(status)
    assert lines[-1] == ("differs from PyTorch" if status else "agrees with PyTorch")
    assert cli.main(["compare", "x.pth", "--tolerance", "1e-9"]) == 1
