"""The weights file: what goes in comes out, and what is no weights file is refused."""

import re

import jax
import numpy as np
import pytest
from tiny_network import make_tiny, random_variables

from configs import synthetic
from cosnet_jax.checkpoints.load import load_checkpoint, load_initial_weights
from cosnet_jax.checkpoints.weights import save_weights
from cosnet_jax.config import as_stored
from cosnet_jax.errors import InputError
from cosnet_jax.models.build import build_model


@pytest.fixture(scope="module")
def config():
    config = synthetic.get_config()
    make_tiny(config)
    config.init = config.data.davis16.source = config.data.data_dir = "/home/somebody/data"
    return config


@pytest.fixture(scope="module")
def variables(config):
    return random_variables(build_model(config.model))


def test_the_variables_come_back_rounded_to_half_precision_and_no_path_is_kept(variables, config, tmp_path):
    save_weights(tmp_path / "small.npz", variables, config)
    loaded, stored = load_checkpoint(tmp_path / "small.npz")
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(np.float16)), loaded, variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {np.dtype("float32")}
    assert stored.model.to_dict() == as_stored(config)["model"] and "somebody" not in str(stored)
    assert "somebody" in str(config)  # the given one is not changed
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(variables))
    assert (tmp_path / "small.npz").stat().st_size < size / 2 + 30_000  # names and configuration


def test_training_can_begin_with_a_packed_checkpoint(variables, config, tmp_path):
    save_weights(tmp_path / "small.npz", variables, config)
    begun = load_initial_weights(random_variables(build_model(config.model), seed=1), str(tmp_path / "small.npz"))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(np.float16)), begun, variables)


def test_a_value_beyond_float16_is_named(variables, config, tmp_path):
    large = jax.tree.map(np.copy, variables)
    large["params"]["gate"]["conv"]["bias"][0] = 7e4
    with pytest.raises(InputError, match="params/gate/conv/bias has values that float16 cannot hold"):
        save_weights(tmp_path / "small.npz", large, config)
    with pytest.raises(InputError, match=re.escape("expected a file name that ends in .npz")):
        save_weights(tmp_path / "small", variables, config)
    assert not list(tmp_path.iterdir())


def test_what_is_no_packed_checkpoint_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "others.npz", a=np.zeros(3))
    np.savez(tmp_path / "pickled.npz", config=np.array([print], dtype=object))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "others.npz").read_bytes()[:100])
    for name in ("text", "others", "pickled", "cut", "missing"):
        with pytest.raises(InputError, match=f"{name}.npz is no weights file"):
            load_checkpoint(tmp_path / f"{name}.npz")
