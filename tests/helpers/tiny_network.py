"""The tiny network that the tests share: compiled in seconds, with every kind of layer that the small model has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from configs import synthetic
from cosnet_jax.checkpoints.store import CheckpointFolder
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.training.optimizer import make_optimizer
from cosnet_jax.training.state import init_state

TINY_MODEL = {"blocks": 4, "channels": 8, "head_features": 4, "aspp_depth": 4}


def make_tiny(config: ConfigDict, **data) -> ConfigDict:
    """Gives a configuration the tiny network and changes its `data` section."""
    config.model.update({"backbone": "mobilenet_v2", "input_scaling": "unit", **TINY_MODEL})
    config.model.aspp_rates = (2,)
    config.data.update(data)
    return config


def tiny_synthetic(**data) -> ConfigDict:
    """A configuration with the tiny network and two short synthetic videos to validate on."""
    config = synthetic.get_config("smoke")
    config.size = (32, 32)
    config.data.synthetic.update({"num_videos": 3, "num_val_videos": 2, "num_frames": 9})
    config.data.synthetic.size = (32, 48)
    return make_tiny(config, **data)


def tiny_network() -> COSNet:
    """The tiny network, vanilla, with the defaults of all other settings."""
    parts = {"backbone": "mobilenet_v2", "coattention": "vanilla", "input_scaling": "unit", "aspp_rates": (2,)}
    return build_model(parts | TINY_MODEL)


def random_variables(model: COSNet, seed: int = 0) -> dict[str, Any]:
    """Random parameters and statistics of a network, without compiling its initialisers."""
    rng = np.random.default_rng(seed)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.ndim > 1:
            return rng.standard_normal(leaf.shape, np.float32) / np.float32(np.sqrt(np.prod(leaf.shape[:-1])))
        return np.full(leaf.shape, 1.0 if {"scale", "var"} & {key.key for key in path} else 0.1, np.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(lambda: init_variables(model, 0)))


def write_checkpoint(config: ConfigDict, folder: Path, step: int = 0) -> Path:
    """Writes a checkpoint of a configuration's network with random parameters."""
    variables = random_variables(build_model(config.model), config.seed)
    state = init_state(variables, make_optimizer(config.optimizer, variables["params"], 1))
    writer = CheckpointFolder(folder, keep=1)
    writer.save(step, state, config, {})
    writer.close()
    return folder
