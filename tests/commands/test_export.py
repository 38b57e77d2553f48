"""`cosnet export`: what each suffix writes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from cosnet_jax import cli
from cosnet_jax.checkpoints.load import load_checkpoint
from cosnet_jax.models.parameters import named_leaves


@pytest.mark.parametrize("half", [False, True])
def test_weights_of_this_program(checkpoint, tmp_path, capsys, half):
    """At full precision unless asked otherwise."""
    path = tmp_path / "mine.safetensors"
    assert cli.main(["export", str(checkpoint), "--output", str(path), *(["--half"] if half else [])]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    (given, config), (written, stored) = load_checkpoint(checkpoint), load_checkpoint(path)
    assert stored.model == config.model
    for name, array in named_leaves(given).items():
        np.testing.assert_allclose(
            named_leaves(written)[name], array, rtol=half and 1e-3, atol=half and 1e-6, err_msg=name
        )


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (["x.bin"], "expected a name that ends in "),
        (["x.pth"], "only the released architecture"),
        (["x.onnx", "--half"], "--half is for .safetensors"),
    ],
)
def test_what_cannot_be_exported_is_said(checkpoint, tmp_path, capsys, monkeypatch, output, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["export", str(checkpoint), "--output", *output])
    assert ended.value.code == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
