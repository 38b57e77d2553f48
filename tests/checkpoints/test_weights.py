"""The weights file: what goes in comes out, and what is no weights file is refused."""

import jax
import numpy as np
import pytest
import safetensors.numpy
from tiny_network import make_tiny, random_variables

import cosnet_jax as cosnet
from configs import synthetic
from cosnet_jax.checkpoints.load import load_checkpoint, load_initial_weights
from cosnet_jax.checkpoints.weights import save_weights
from cosnet_jax.config import as_stored
from cosnet_jax.errors import InputError
from cosnet_jax.models.build import build_model


@pytest.fixture(scope="module")
def config():
    config = make_tiny(synthetic.get_config())
    config.init = config.data.davis16.source = config.data.data_dir = "/home/somebody/data"
    return config


@pytest.fixture(scope="module")
def variables(config):
    return random_variables(build_model(config.model))


@pytest.mark.parametrize("half", [False, True])
def test_variables_come_back_and_no_path_is_kept(variables, config, tmp_path, half):
    save_weights(tmp_path / "small.safetensors", variables, config, half)
    loaded, stored = load_checkpoint(tmp_path / "small.safetensors")
    kind = np.float16 if half else np.float32
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(kind)), loaded, variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {np.dtype("float32")}
    assert stored.model.to_dict() == as_stored(config)["model"] and "somebody" not in str(stored)
    assert "somebody" in str(config)  # the given one is not changed


def test_a_network_is_saved_and_loaded_by_the_public_api(variables, config, tmp_path):
    model = build_model(config.model)
    cosnet.save(tmp_path / "mine.safetensors", model, variables, config)
    loaded, again, _ = cosnet.load(tmp_path / "mine.safetensors")
    assert loaded == model
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    with pytest.raises(InputError, match="not that of"):
        cosnet.save(tmp_path / "mine.safetensors", model.clone(channels=9), variables, config)


def test_training_can_begin_with_a_weights_file(variables, config, tmp_path):
    save_weights(tmp_path / "small.safetensors", variables, config)
    begun = load_initial_weights(random_variables(build_model(config.model), 1), str(tmp_path / "small.safetensors"))
    jax.tree.map(np.testing.assert_array_equal, begun, variables)


def test_a_value_beyond_float16_is_named(variables, config, tmp_path):
    large = jax.tree.map(np.copy, variables)
    large["params"]["gate"]["conv"]["bias"][0] = 7e4
    with pytest.raises(InputError, match="params/gate/conv/bias has values that float16 cannot hold"):
        save_weights(tmp_path / "small.safetensors", large, config, half=True)
    with pytest.raises(InputError, match=r"\.safetensors"):
        save_weights(tmp_path / "small", variables, config)
    assert not list(tmp_path.iterdir())


def test_what_is_no_weights_file_is_refused(tmp_path):
    (tmp_path / "text.safetensors").write_text("hello")
    safetensors.numpy.save_file({"a": np.zeros(3)}, tmp_path / "bare.safetensors")
    safetensors.numpy.save_file({"a": np.zeros(3)}, tmp_path / "odd.safetensors", {"config": "[]"})
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "bare.safetensors").read_bytes()[:50])
    np.savez(tmp_path / "earlier.npz", a=np.zeros(3))
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(InputError, match=path.name):
            load_checkpoint(path)
