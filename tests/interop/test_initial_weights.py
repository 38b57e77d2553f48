"""Initial weights of a training from a converted checkpoint."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from configs import davis16_released
from cosnet_jax.checkpoints.load import load_checkpoint, load_initial_weights
from cosnet_jax.errors import InputError
from cosnet_jax.interop.convert import convert
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.models.parameters import named_leaves


def zeros(configuration=davis16_released, **settings):
    """Returns the variables of a network, all zero."""
    config = configuration.get_config()
    config.model.update(settings)
    model = build_model(config.model)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(lambda: init_variables(model, 0)))


@pytest.fixture(scope="module")
def checkpoint(shallow_weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    save_file(shallow_weights, folder / "weights.safetensors")
    convert(folder / "weights.safetensors", folder / "checkpoint", "released")
    return str(folder / "checkpoint")


def test_all_or_what_fits_of_a_checkpoint_is_taken(checkpoint, capsys):
    stored = named_leaves(load_checkpoint(checkpoint)[0])
    for name, leaf in named_leaves(load_initial_weights(zeros(), checkpoint)).items():
        np.testing.assert_array_equal(leaf, stored[name], err_msg=name)
    assert capsys.readouterr().out == ""

    # The paper's head has other layers, and here the ASPP joins its branches by a 1x1 convolution.
    for name, leaf in named_leaves(load_initial_weights(zeros(head="paper", aspp_kernel=1), checkpoint)).items():
        expected = 0 if "/head_a/" in name or "/aspp/" in name else stored[name]
        np.testing.assert_array_equal(leaf, np.broadcast_to(expected, leaf.shape), err_msg=name)
    assert capsys.readouterr().out.endswith("keep their initial value: encoder/aspp, head_a\n")


def test_what_cannot_be_a_start_is_refused(checkpoint, tmp_path):
    with pytest.raises(InputError, match="another backbone"):
        load_initial_weights(zeros(backbone="resnet50"), checkpoint)
    with pytest.raises(InputError, match="holds no checkpoint"):
        load_initial_weights({}, str(tmp_path))
