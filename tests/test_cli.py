"""The command line: what is printed, the exit status, and errors of one line."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from cosnet_jax import cli
from cosnet_jax.config import read_config
from cosnet_jax.interop.presets import PRESETS

ROOT = Path(__file__).parents[1]


def test_convert_says_what_it_wrote(monkeypatch, capsys):
    def fake(weights, output, preset):
        assert (weights, output, preset) == ("x.pth", "folder", "deeplab")
        return PRESETS[preset].to_config(), {"affinity": 1, "gate": 2}

    monkeypatch.setattr("cosnet_jax.commands.convert.convert", fake)
    assert cli.main(["convert", "x.pth", "--output", "folder", "--preset", "deeplab"]) == 0
    line = "folder: resnet101, configuration davis16_released, fusion prediction\n"
    assert capsys.readouterr().out == line + "kept at initial values: affinity, gate (3 arrays)\n"


@pytest.mark.parametrize("command", cli.COMMANDS)
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
def test_help_explains_every_argument_and_its_example_parses(command, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)  # the examples name files of configs/
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert cli.COMMANDS[command] in " ".join(shown.split())
    (example,) = re.findall(r"^example:\n  (.+)\n", shown, re.M)
    program, name, *arguments = shlex.split(example)
    assert (program, name) == ("cosnet", command)
    module, parsed = cli.parse_command(command, arguments)
    if parsed.overrides:
        read_config(parsed.config, parsed.overrides)
        assert "configs/base.py lists all" in shown
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert [action.dest for action in parser._actions if not action.help] == []


def test_commands_are_listed_help_needs_no_extra_and_a_missing_one_is_named(tmp_path):
    program = """if True:
        import sys
        extras = "array_record gradio grain jinja2 onnx onnxruntime optax pydensecrf ray tensorboardX torch"
        sys.modules.update(dict.fromkeys([*extras.split(), "tensorflow_datasets"]))
        from cosnet_jax import cli
        for command in ([], *([name] for name in cli.COMMANDS)):
            try:
                cli.main([*command, "--help"])
            except SystemExit as ended:
                assert ended.code == 0, command
        cli.main(sys.argv[1:])
    """
    command = ["ablate", "--config=synthetic:smoke", f"--workdir={tmp_path}", "--checkpoint=davis16_lite"]
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, cwd=ROOT)
    assert re.fullmatch(r"error: `cosnet ablate` needs \w+: pip install 'cosnet_jax\[train\]'\n", done.stderr)
    assert all(f"\n  {name} " in done.stdout and f"usage: cosnet {name} " in done.stdout for name in cli.COMMANDS)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_what_a_newcomer_gets_wrong_first_is_one_line_that_names_the_next_step(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "frames"):
        (tmp_path / name).mkdir()
    for name in ("file", "nothing.mp4", "frames/1.png", "config.py"):
        (tmp_path / name).touch()
    (tmp_path / "text.mp4").write_text("text\n" * 100)
    save_file({"other": np.zeros(3, np.float32)}, tmp_path / "x.pth")
    config, out = f"--config={ROOT}/configs/synthetic.py", ["--output", "out"]
    ablate = ["ablate", "--workdir=out", "--checkpoint=none"]
    for arguments, next_step in (
        (["segment", "none.mp4", *out], "none.mp4: .*; check its path"),
        (["segment", "empty", *out], "empty: .*; expected files such as 00000.jpg or clip.mp4"),
        (["segment", "*.avi", *out], r"\*.avi: .*; expected one such as 'clips/\*.mp4', in quotes"),
        (["segment", "nothing.mp4", *out], "nothing.mp4: .*; copy or download it again"),
        (["segment", "text.mp4", *out], "text.mp4: .*; expected one that a player shows"),
        (["segment", "frames", *out], "1.png: .*; convert it to jpg or png, or remove it"),
        (["export", "empty", "--output", "x.pth"], "empty .*; expected .*cosnet train. .* or `cosnet convert`"),
        (["convert", "none.pth", *out], "none.pth: .*; expected a file of PyTorch weights"),
        (["convert", "x.pth", *out], "1 unknown: other"),
        (["compare", "x.pth", "--size", "9", "99"], r"--size is \(9, 99\); expected at least 17"),
        (["prepare", "davis17"], "invalid choice: 'davis17'"),
        (["prepare", "davis16", "--data-dir", "out"], "davis16 .*, or run `cosnet prepare davis16 --source RAW"),
        (["prepare", "davis16", "--source", "none"], "none .*; docs/datasets.md says where to get"),
        ([*ablate, config, "--workdir=file"], "file: .*; name another folder"),
        ([*ablate, "--config=none.py"], "none.py.*; configs/base.py lists the settings"),
        ([*ablate, config, "--config.batch_size=many"], "batch_size=many.*; configs/base.py lists the settings"),
        ([*ablate, config], "none does not exist; expected .*cosnet train"),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 1
        message = capsys.readouterr().err
        assert re.fullmatch(f"error: .*{next_step}.*\n", message), (arguments, message)


@pytest.mark.parametrize(("worst", "status"), [(0.9e-4, 0), (1.1e-4, 1), (float("nan"), 1)])
def test_compare_fails_above_the_tolerance(monkeypatch, capsys, worst, status):
    rows = {"feature_a": 1e-7, "y_a": worst}
    monkeypatch.setattr("cosnet_jax.commands.compare.compare_with_torch", lambda weights, size: rows)
    assert cli.main(["compare", "x.pth", "--size", "95", "127"]) == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["feature_a", "1.0e-07"]
    assert ("above the tolerance" in lines[1]) == bool(status)
    assert lines[-1] == ("differs from PyTorch" if status else "agrees with PyTorch")
