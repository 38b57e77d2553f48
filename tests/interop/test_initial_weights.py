"""Training that starts from a converted checkpoint."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from cosnet_jax.checkpoints import store as checkpoints
from cosnet_jax.checkpoints.initial import load_backbone
from cosnet_jax.errors import InputError
from cosnet_jax.interop.convert import convert, load_config
from cosnet_jax.interop.pth import write_pth
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.models.parameters import named_leaves


def zeros(**settings):
    """Variables of a network, all zero."""
    config = load_config("davis16_released")
    config.model.update(settings)
    model = build_model(config.model)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(lambda: init_variables(model, 0)))


@pytest.fixture
def checkpoint(shallow_weights, tmp_path):
    write_pth(tmp_path / "weights.pth", shallow_weights)
    convert(tmp_path / "weights.pth", tmp_path / "checkpoint", "released")
    return str(tmp_path / "checkpoint")


def test_all_or_what_fits_of_a_checkpoint_is_taken(checkpoint, capsys):
    stored = named_leaves(checkpoints.load(checkpoint)[0])
    for name, leaf in named_leaves(load_backbone(zeros(), checkpoint)).items():
        np.testing.assert_array_equal(leaf, stored[name], err_msg=name)
    assert capsys.readouterr().out == ""

    # The paper's head is another; so is the ASPP that joins by a 1x1 convolution.
    for name, leaf in named_leaves(load_backbone(zeros(head="paper", aspp_kernel=1), checkpoint)).items():
        expected = 0 if "/head_a/" in name or "/aspp/" in name else stored[name]
        np.testing.assert_array_equal(leaf, np.broadcast_to(expected, leaf.shape), err_msg=name)
    assert capsys.readouterr().out.endswith("keep their initial value: encoder/aspp, head_a\n")


def test_another_backbone_is_refused(checkpoint):
    with pytest.raises(InputError, match=r"has another backbone \(resnet101\)"):
        load_backbone(zeros(backbone="resnet50"), checkpoint)


def test_a_folder_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint"):
        load_backbone({}, str(tmp_path))
