"""Weights and inputs that the interop tests share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cosnet_jax.interop.twin import PairModel, load_twin

torch.set_num_threads(1)  # test processes run side by side


@pytest.fixture(scope="session")
def released_weights() -> dict[str, np.ndarray]:
    """A random state dict of the released model, scaled so that no stage vanishes or saturates."""
    rng = np.random.default_rng(0)
    weights = {}
    for name, tensor in PairModel().state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith("num_batches_tracked"):
            weights[name] = np.array(5, np.int64)
            continue
        if name.endswith("running_var"):
            value = rng.uniform(0.5, 2, shape)
        elif name.endswith("prelu.weight"):
            value = np.full(shape, 0.2)
        elif len(shape) == 4:
            value = rng.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[1:]))
        elif len(shape) == 2:
            value = rng.standard_normal(shape, np.float32) * 0.01
        elif name.endswith("bn3.weight"):
            value = rng.uniform(0.1, 0.3, shape)
        elif name == "encoder.layer5.bn.weight":
            value = rng.uniform(0.5, 1.5, shape) / 50
        elif name.endswith("weight"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(0, 0.1, shape)
        weights[name] = np.asarray(value, np.float32)
    return weights


@pytest.fixture(scope="session")
def twin(released_weights) -> PairModel:
    """The twin with these weights, in eval mode. Tests must leave it unchanged."""
    return load_twin(released_weights)
