"""`cosnet export`: what each suffix writes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from cosnet_jax import cli
from cosnet_jax.checkpoints.load import load_checkpoint
from cosnet_jax.interop.convert import convert_state_dict, export_pth
from cosnet_jax.interop.pth import read_pth
from cosnet_jax.models.parameters import named_leaves


def test_weights_of_this_program(checkpoint, tmp_path, capsys):
    path = tmp_path / "mine.safetensors"
    assert cli.main(["export", str(checkpoint), "--output", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    (given, config), (written, stored) = load_checkpoint(checkpoint), load_checkpoint(path)
    assert stored.model == config.model
    for name, array in named_leaves(given).items():
        np.testing.assert_allclose(named_leaves(written)[name], array, rtol=1e-3, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("half", [False, True])
def test_weights_for_pytorch(shallow_weights, tmp_path, half):
    variables, config, _ = convert_state_dict(shallow_weights, "released", "weights")
    export_pth(tmp_path / "x.pth", variables, config, half)
    content = read_pth(tmp_path / "x.pth")
    assert content["epoch"] == 0
    assert content["model"].keys() == shallow_weights.keys()
    assert content["model"]["gate.weight"].dtype == (np.float16 if half else np.float32)
    np.testing.assert_allclose(
        content["model"]["gate.weight"], shallow_weights["gate.weight"], rtol=1e-3 if half else 0
    )


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (["x.bin"], "expected a name that ends in "),
        (["x.pth"], "only the released architecture"),
        (["x.onnx", "--half"], "--half is for weights"),
    ],
)
def test_what_cannot_be_exported_is_said(checkpoint, tmp_path, capsys, monkeypatch, output, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["export", str(checkpoint), "--output", *output])
    assert ended.value.code == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
