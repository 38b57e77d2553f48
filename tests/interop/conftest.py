"""Weights and inputs that the interop tests share."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cosnet_jax.interop.convert import convert_state_dict
from cosnet_jax.interop.twin import PairModel, load_twin, to_numpy
from cosnet_jax.models import resnet
from cosnet_jax.models.build import build_model

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


@pytest.fixture
def shallow_twin(monkeypatch, released_weights) -> PairModel:
    """A twin with one block a layer; for the test, our ResNet-101 has as many. Every kind of layer, compiled fast."""
    monkeypatch.setitem(resnet.DEPTHS, "resnet101", (1, 1, 1, 1))
    model = PairModel().eval()
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        setattr(model.encoder, layer, getattr(model.encoder, layer)[:1])
    model.load_state_dict({name: torch.from_numpy(released_weights[name].copy()) for name in model.state_dict()})
    return model


@pytest.fixture
def shallow_weights(shallow_twin) -> dict[str, np.ndarray]:
    """The shallow twin's state dict."""
    return to_numpy(shallow_twin.state_dict())


@pytest.fixture(scope="session")
def converted(released_weights):
    """Our network with these weights: (model, variables, config)."""
    variables, config, initial = convert_state_dict(released_weights, "released", "random weights")
    assert initial == []
    return build_model(config.model), variables, config


@pytest.fixture(scope="session")
def reference() -> Path:
    """A folder with `case.py`, `released_state_dict.json` and `case_97x97.npz`."""
    folder = os.environ.get("COSNET_REFERENCE")
    if not folder:
        pytest.skip("COSNET_REFERENCE names no folder with a worked case of the released model")
    return Path(folder)


@pytest.fixture(scope="session")
def case(reference):
    """The module that draws the worked case's weights and inputs."""
    spec = importlib.util.spec_from_file_location("case", reference / "case.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
