"""The twin of the released training step against torch.optim and numbers computed by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest

pytest.importorskip("torch", reason="compares with PyTorch")
import torch
from torch import nn
from twin_training import ReleasedTraining, group_rates, is_still, learning_rate, repeats, supervised_loss

from cosnet_jax.interop.twin import load_twin

pytestmark = pytest.mark.torch


class SmallPair(nn.Module):
    """A model with names as in the released one, three outputs, and a side output that does not use the gate."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        block = nn.Module()
        block.conv1 = nn.Conv2d(4, 4, 1)
        block.downsample = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        block.downsample[1].requires_grad_(False)
        self.encoder = nn.Module()
        self.encoder.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.encoder.layer1 = nn.Sequential(block)
        self.encoder.main_classifier = nn.Conv2d(4, 1, 1)
        self.gate = nn.Conv2d(4, 1, 1)

    def forward(self, a, b):
        block = self.encoder.layer1[0]
        features = [torch.tanh(self.encoder.conv1(x)) for x in (a, b)]
        features = [torch.tanh(block.conv1(x) + block.downsample(x)) for x in features]
        y_a, y_b = (torch.sigmoid(self.gate(x)) for x in features)
        return y_a, y_b, torch.sigmoid(self.encoder.main_classifier(features[1]))


def batch(seed, size=8):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(2, 2, 3, size, size, generator=generator)
    masks = (torch.rand(2, 2, 1, size, size, generator=generator) > 0.7).float()
    return *images, *masks


def reference_loss(prediction, mask):
    """Computes the loss pixel by pixel."""
    p, o = prediction.double().flatten(), mask.double().flatten()
    entropy = torch.where(o > 0, -torch.log(p), -torch.log(1 - p)).mean()
    return len(o) / o.sum() * entropy + 0.8 * (p - o).abs().mean()


def test_loss_by_hand():
    prediction = torch.tensor([0.5, 0.25, 0.5, 0.75]).reshape(1, 1, 2, 2)
    mask = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    entropy = (np.log(2) + np.log(4 / 3) + np.log(2) + np.log(4)) / 4
    distance = (0.5 + 0.25 + 0.5 + 0.75) / 4
    np.testing.assert_allclose(float(supervised_loss(prediction, mask)), 4 * entropy + 0.8 * distance, rtol=1e-6)


def test_schedule():
    assert [is_still(step) for step in range(5)] == [True, False, False, True, False]
    assert learning_rate(0, 1000, epoch=0) == 2.5e-4
    np.testing.assert_allclose(learning_rate(500, 1000, epoch=5), 2.5e-4 * 0.5**0.9)
    np.testing.assert_allclose(learning_rate(500, 1000, epoch=6, base=1), 0.5**1.9)
    assert group_rates(still=True, rate=2.0) == (2.0, 0.0)
    assert group_rates(still=False, rate=2.0) == (0.02, 20.0)


def test_repeats_are_the_modules_that_hold_a_parameter(twin):
    """The optimizer lists, for every part of the encoder and every module in it, all parameters of that module."""
    counts = {}
    for part in twin.encoder.children():
        for module in part.modules():
            for parameter in module.parameters():
                counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    names = dict(twin.encoder.named_parameters())
    assert {name: repeats(f"encoder.{name}") for name in names} == {name: counts[id(p)] for name, p in names.items()}
    assert repeats("encoder.conv1.weight") == 1
    assert repeats("encoder.layer5.conv2d_1.weight") == 2
    assert repeats("encoder.layer3.22.bn3.weight") == 3
    assert repeats("encoder.layer1.0.downsample.0.weight") == 4
    assert repeats("main_classifier1.bias") == 1


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
@pytest.mark.parametrize("repeat_updates", [False, True])
def test_steps_match_torch_sgd(repeat_updates):
    model = SmallPair()
    expected = copy.deepcopy(model)
    training = ReleasedTraining(model, repeat_updates)

    groups = {True: [], False: []}
    for name, parameter in expected.named_parameters():
        if parameter.requires_grad:
            groups[name.startswith("encoder.")] += [parameter] * (repeats(name) if repeat_updates else 1)
    optimizer = torch.optim.SGD(
        [{"params": groups[True]}, {"params": groups[False]}], lr=1.0, momentum=0.9, weight_decay=5e-4, foreach=False
    )
    for parameter in {*groups[True], *groups[False]}:
        parameter.grad = torch.zeros_like(parameter)
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    expected.train()

    for step in range(4):
        a, b, masks_a, masks_b = batch(step)
        rate = 0.05 / (step + 1)
        optimizer.zero_grad(set_to_none=False)
        if step % 3 == 0:
            loss = training.still_step(a, masks_a, rate)
            expected_loss = 0.1 * reference_loss(expected(a, a)[2], masks_a)
            optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = rate, 0.0
        else:
            loss = training.video_step(a, b, masks_a, masks_b, rate)
            y_a, y_b, _ = expected(a, b)
            expected_loss = reference_loss(y_a, masks_a) + reference_loss(y_b, masks_b)
            optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = 0.01 * rate, 10 * rate
        expected_loss.backward()
        optimizer.step()
        np.testing.assert_allclose(loss, float(expected_loss.detach()), rtol=1e-5)
    for (name, value), other in zip(model.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-6, msg=name)


def test_a_step_of_the_whole_model(released_weights):
    model = load_twin(released_weights)
    training = ReleasedTraining(model, repeat_updates=True)
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 2, 3, 33, 33, generator=generator) * 50
    masks = (torch.rand(2, 1, 33, 33, generator=generator) > 0.6).float()
    with torch.no_grad():
        stem_statistics = [model.encoder.conv1(x).transpose(0, 1).flatten(1) for x in (a, b)]
    assert np.isfinite(training.video_step(a, b, masks, masks, rate=1.0))

    mean, variance = (torch.from_numpy(released_weights[f"encoder.bn1.running_{kind}"]) for kind in ("mean", "var"))
    for values in stem_statistics:
        mean = 0.9 * mean + 0.1 * values.mean(dim=1)
        variance = 0.9 * variance + 0.1 * values.var(dim=1, unbiased=True)
    torch.testing.assert_close(model.encoder.bn1.running_mean, mean, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(model.encoder.bn1.running_var, variance, rtol=1e-4, atol=1e-4)
    assert int(model.encoder.layer5.bn_x.num_batches_tracked) == 5 + 2
    assert int(model.bn1.num_batches_tracked) == int(model.bn2.num_batches_tracked) == 5 + 1
    for name, parameter in model.named_parameters():
        moved = not np.array_equal(parameter.detach().numpy(), released_weights[name])
        assert moved == ("downsample.1." not in name), name
