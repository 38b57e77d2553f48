"""The parts of the twin's training step against numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")
from twin_training import learning_rate, repeats, supervised_loss  # noqa: E402

pytestmark = pytest.mark.torch


def test_loss_by_hand():
    prediction = torch.tensor([0.5, 0.25, 0.5, 0.75]).reshape(1, 1, 2, 2)
    mask = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    entropy = (np.log(2) + np.log(4 / 3) + np.log(2) + np.log(4)) / 4
    distance = (0.5 + 0.25 + 0.5 + 0.75) / 4
    np.testing.assert_allclose(float(supervised_loss(prediction, mask)), 4 * entropy + 0.8 * distance, rtol=1e-6)


def test_schedule():
    assert learning_rate(0, 1000, epoch=0) == 2.5e-4
    np.testing.assert_allclose(learning_rate(500, 1000, epoch=5), 2.5e-4 * 0.5**0.9)
    np.testing.assert_allclose(learning_rate(500, 1000, epoch=6, base=1), 0.5**1.9)


def test_repeats_are_the_modules_that_hold_a_parameter(twin):
    """The optimizer lists, for every part of the encoder and every module in it, all parameters of that module."""
    counts = {}
    for part in twin.encoder.children():
        for module in part.modules():
            for parameter in module.parameters():
                counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    names = dict(twin.encoder.named_parameters())
    assert {name: repeats(f"encoder.{name}") for name in names} == {name: counts[id(p)] for name, p in names.items()}
    assert set(counts.values()) == {1, 2, 3, 4} and repeats("main_classifier1.bias") == 1
