"""The PyTorch twin against a worked case of the released model, and against loops."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="compares with PyTorch")
import torch

from cosnet_jax.interop.twin import load_twin

pytestmark = pytest.mark.torch


def images(size, count, seed=0):
    """Returns smooth noise of about -120..120, (count, 3, h, w)."""
    noise = torch.randn(count, 3, 5, 6, generator=torch.Generator().manual_seed(seed)) * 60
    return torch.nn.functional.interpolate(noise, size=size, mode="bicubic", align_corners=False)


def softmax(scores):
    exponentials = np.exp(scores - scores.max())
    return exponentials / exponentials.sum()


def flat(feature):
    """Converts (1, c, h, w) to (positions, c) in float64."""
    return feature[0].flatten(1).T.numpy().astype(np.float64)


def test_state_dict_is_the_released_one(reference, twin):
    ours = [[name, list(value.shape), str(value.dtype)] for name, value in twin.state_dict().items()]
    assert ours == json.loads((reference / "released_state_dict.json").read_text())


def test_the_worked_case(reference, case):
    model = load_twin(case.weights())
    a, b = torch.from_numpy(case.images((97, 97), 3, 3)[:2, None])
    with torch.no_grad():
        stages = model.stages(a, b)
    expected = np.load(reference / "case_97x97.npz")
    for name, key in {"y_a": "ya", "y_b": "yb", "side_b": "side", "feature_a": "fa"}.items():
        np.testing.assert_allclose(stages[name].numpy(), expected[key], rtol=0, atol=2e-5, err_msg=name)


def test_counts_are_the_released_ones(twin):
    assert len(twin.state_dict()) == 687
    assert sum(parameter.numel() for parameter in twin.parameters()) == 81_242_436
    assert sum(value.numel() for value in twin.state_dict().values()) == 81_354_548
    frozen = [name for name, parameter in twin.named_parameters() if not parameter.requires_grad]
    assert frozen == [f"encoder.layer{k}.0.downsample.1.{kind}" for k in (1, 2, 3, 4) for kind in ("weight", "bias")]


@pytest.mark.parametrize(("size", "expected"), [((33, 33), (5, 5)), ((32, 40), (5, 6)), ((48, 31), (7, 5))])
def test_pooling_reads_one_more_window_where_it_fits(twin, size, expected):
    """32 -> 16 -> 9 (floor: 8): windows at -1, 1, ..., 13, and 15, which reads the last pixel and padding."""
    with torch.no_grad():
        features, side = twin.encoder(images(size, 1))
    assert features.shape == (1, 256, *expected) and side.shape == (1, 1, *size)


def test_coattention_by_loops(twin):
    with torch.no_grad():
        stages = twin.stages(images((33, 41), 1, seed=1), images((33, 41), 1, seed=2))
    weight = twin.linear_e.weight.detach().numpy().astype(np.float64)
    gate = twin.gate.weight.detach().numpy().astype(np.float64)[0, :, 0, 0]
    v_a, v_b = flat(stages["feature_a"]), flat(stages["feature_b"])
    affinity = np.array([[(weight @ a) @ b for b in v_b] for a in v_a])
    z_a = np.array([sum(p * b for p, b in zip(softmax(row), v_b, strict=True)) for row in affinity])
    z_b = np.array([sum(p * a for p, a in zip(softmax(column), v_a, strict=True)) for column in affinity.T])
    # float32 sums of 256 products around 1, against float64
    np.testing.assert_allclose(stages["affinity"][0], affinity, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(flat(stages["summary_a"]), z_a, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(flat(stages["summary_b"]), z_b, rtol=1e-4, atol=1e-5)
    for name, z in (("gate_a", z_a), ("gate_b", z_b)):
        np.testing.assert_allclose(flat(stages[name])[:, 0], 1 / (1 + np.exp(-z @ gate)), rtol=1e-4)
    assert affinity.std() > 0.1  # otherwise every softmax is nearly uniform
