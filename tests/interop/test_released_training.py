"""The released recipe's training steps against the same steps of the PyTorch twin with torch.optim.

One SGD (momentum 0.9, weight decay 5e-4) updates two groups of parameters, the encoder and the rest. Their learning
rates depend on the kind of step. Every step runs the whole pair model in train mode. Each branch is encoded alone, so a
step updates the encoder's running statistics twice (a, then b). A still step gives the same images to both branches and
trains only the side output (of b). Parameters that its loss does not reach have a gradient of zero, so momentum and
decay apply to them too (at the rate 0 for the heads).
"""

from __future__ import annotations

import warnings

import jax
import numpy as np
import pytest

from configs import davis16_released
from cosnet_jax.interop.convert import convert_state_dict
from cosnet_jax.interop.names import FORMATS, to_torch
from cosnet_jax.interop.parity import smooth_frames, to_twin
from cosnet_jax.models.build import build_model
from cosnet_jax.models.scaling import RELEASED_BGR_MEAN
from cosnet_jax.training.optimizer import make_optimizer
from cosnet_jax.training.state import init_state
from cosnet_jax.training.steps import make_steps

torch = pytest.importorskip("torch", reason="compares with PyTorch")

pytestmark = pytest.mark.torch
STEP_KINDS = ("still", "video", "video", "still")
TOTAL_STEPS = 20  # the rate is halved after a tenth of them
SIZE = (33, 41)


def learning_rate(step):
    return 2.5e-4 * (0.5 if step >= 0.1 * TOTAL_STEPS else 1) * (1 - step / TOTAL_STEPS) ** 0.9


def repeats(name):
    """How often the release's optimizer lists a parameter, which is how often one step updates it.

    The list has a parameter once per module below the encoder that contains it: once for the stem and the side output's
    classifier, 2 times in the ASPP, 3 times in a residual block, 4 times in a projection shortcut. It has others once.
    """
    return name.count(".") - 1 if name.startswith("encoder.") else 1


def supervised_loss(prediction, mask):
    """Mean binary cross-entropy times (pixels / positive pixels of the batch), plus 0.8 mean L1 distance."""
    entropy = torch.nn.functional.binary_cross_entropy(prediction, mask)
    return mask.numel() / mask.sum() * entropy + 0.8 * (prediction - mask).abs().mean()


def test_the_loss_by_hand():
    prediction = torch.tensor([0.5, 0.25, 0.5, 0.75]).reshape(1, 1, 2, 2)
    mask = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    entropy = (np.log(2) + np.log(4 / 3) + np.log(2) + np.log(4)) / 4
    distance = (0.5 + 0.25 + 0.5 + 0.75) / 4
    np.testing.assert_allclose(float(supervised_loss(prediction, mask)), 4 * entropy + 0.8 * distance, rtol=1e-6)


def test_repeats_are_the_modules_that_hold_a_parameter(twin):
    counts = {}
    for part in twin.encoder.children():
        for module in part.modules():
            for parameter in module.parameters():
                counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    names = dict(twin.encoder.named_parameters())
    assert {name: repeats(f"encoder.{name}") for name in names} == {name: counts[id(p)] for name, p in names.items()}
    assert set(counts.values()) == {1, 2, 3, 4} and repeats("main_classifier1.bias") == 1


def train_twin(twin, images, masks, repeat_updates):
    """Takes the steps with the twin, in place, and returns their losses."""
    groups = [], []
    for name, parameter in twin.train().named_parameters():
        if parameter.requires_grad:
            groups[not name.startswith("encoder.")].extend([parameter] * (repeats(name) if repeat_updates else 1))
    with warnings.catch_warnings(action="ignore"):  # PyTorch warns of parameters that are listed twice
        options = {"lr": 0, "momentum": 0.9, "weight_decay": 5e-4, "foreach": False}
        optimizer = torch.optim.SGD([{"params": group} for group in groups], **options)
    for parameter in {*groups[0], *groups[1]}:
        parameter.grad = torch.zeros_like(parameter)
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    losses = []
    for step, kind in enumerate(STEP_KINDS):
        (a, b), (mask_a, mask_b) = torch.from_numpy(images[step]), torch.from_numpy(masks[step])
        if kind == "still":
            loss, factors = 0.1 * supervised_loss(twin(a, a)[2], mask_a), (1, 0)
        else:
            y_a, y_b, _ = twin(a, b)
            loss, factors = supervised_loss(y_a, mask_a) + supervised_loss(y_b, mask_b), (0.01, 10)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = factor * learning_rate(step)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def train_ours(weights, images, masks, repeat_updates):
    """Takes the steps with our network; returns their losses, and the weights in the twin's names."""
    variables, _, _ = convert_state_dict(weights, "released", "twin")
    config = davis16_released.get_config()
    config.optimizer.repeat_updates = repeat_updates
    model = build_model(config.model)
    optimizer = make_optimizer(config.optimizer, variables["params"], TOTAL_STEPS)
    state, losses = init_state(variables, optimizer), []
    fast = {"xla_backend_optimization_level": 0}  # compiles in half the time
    steps = {kind: jax.jit(step, compiler_options=fast) for kind, step in make_steps(model, optimizer, config).items()}
    rgb = (images.transpose(0, 2, 1, 4, 5, 3) + np.asarray(RELEASED_BGR_MEAN, np.float32))[..., ::-1]
    labels = masks[:, :, :, 0].transpose(0, 2, 1, 3, 4).astype(np.uint8)
    for kind, frames, label in zip(STEP_KINDS, rgb, labels, strict=True):
        batch = {"image": frames, "mask": label} if kind == "video" else {"image": frames[:, 0], "mask": label[:, 0]}
        state, metrics = steps[kind](state, batch)
        losses.append(float(metrics["loss"]))
    return losses, to_torch(state.variables, FORMATS["released"])


@pytest.mark.slow
@pytest.mark.parametrize("repeat_updates", [False, True])
def test_steps_with_one_block_a_layer(twin_module, make_shallow_twin, shallow_weights, repeat_updates):
    """Losses to 1e-4 relative, arrays to 1e-4 of their largest value, and how they moved to 2%."""
    images = np.stack([to_twin(smooth_frames(SIZE, seed)) for seed in range(8)]).reshape(4, 2, 2, 3, *SIZE)
    masks = (images[:, :, :, :1] > 20).astype(np.float32)
    assert 0.1 < masks.mean() < 0.9
    twin = make_shallow_twin()
    losses = train_twin(twin, images, masks, repeat_updates)
    our_losses, our_weights = train_ours(shallow_weights, images, masks, repeat_updates)
    np.testing.assert_allclose(our_losses, losses, rtol=1e-4)
    for name, value in twin_module.to_numpy(twin.state_dict()).items():
        if name.endswith("num_batches_tracked"):
            continue
        scale = max(1.0, float(np.abs(value).max()))
        np.testing.assert_allclose(our_weights[name], value, rtol=0, atol=1e-4 * scale, err_msg=name)
        # Weights move by 1e-5 to 1e-3, so this comparison is stricter. It uses a norm, because rounding in float32
        # decides the gradient of a few weights, where a ReLU's input is nearly 0. The last term is the rounding of the
        # updates.
        move, rounding = np.linalg.norm(value - shallow_weights[name]), 3e-7 * np.linalg.norm(value)
        assert np.linalg.norm(our_weights[name] - value) <= 0.02 * move + rounding, name
        frozen = "downsample.1." in name and "running" not in name
        assert (move == 0) == frozen, name
