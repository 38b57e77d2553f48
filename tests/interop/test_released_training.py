"""The released recipe's training steps against the PyTorch twin's."""

from __future__ import annotations

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

pytest.importorskip("torch", reason="compares with PyTorch")
import torch
from twin_training import ReleasedTraining, learning_rate

from cosnet_jax.interop.twin import to_numpy

pytestmark = pytest.mark.torch
STEP_KINDS = ("still", "video", "video", "still")


def train_both(twin, images, masks, total_steps, repeat_updates):
    """Takes the four steps with our network and with the twin.

    Args:
      twin: both start from its weights; it is trained in place.
      images: (4, 2, n, 3, h, w), as the twin takes them; a still step uses the first image of each pair.
      masks: (4, 2, n, 1, h, w).
      total_steps: length of the schedule; the rate drops after a tenth of it.
      repeat_updates: see configs/base.py.

    Returns:
      (our losses, the twin's, our state dict, the twin's).
    """
    variables, _, _ = convert_state_dict(to_numpy(twin.state_dict()), "released", "twin")
    config = davis16_released.get_config()
    config.optimizer.repeat_updates = repeat_updates
    model = build_model(config.model)
    optimizer = make_optimizer(config.optimizer, variables["params"], total_steps)
    state = init_state(variables, optimizer)
    fast = {"xla_backend_optimization_level": 0}  # compiles in half the time
    steps = {kind: jax.jit(step, compiler_options=fast) for kind, step in make_steps(model, optimizer, config).items()}
    rgb = (images.transpose(0, 2, 1, 4, 5, 3) + np.asarray(RELEASED_BGR_MEAN, np.float32))[..., ::-1]
    labels = masks[:, :, :, 0].transpose(0, 2, 1, 3, 4).astype(np.uint8)
    ours = []
    for kind, frames, label in zip(STEP_KINDS, rgb, labels, strict=True):
        batch = {"image": frames, "mask": label} if kind == "video" else {"image": frames[:, 0], "mask": label[:, 0]}
        state, metrics = steps[kind](state, batch)
        ours.append(float(metrics["loss"]))

    training, theirs = ReleasedTraining(twin, repeat_updates), []
    for step, (kind, pair, mask) in enumerate(zip(STEP_KINDS, images, masks, strict=True)):
        (a, b), (mask_a, mask_b) = torch.from_numpy(pair), torch.from_numpy(mask)
        rate = learning_rate(step, total_steps, epoch=6 if step >= 0.1 * total_steps else 5)
        if kind == "still":
            theirs.append(training.still_step(a, mask_a, rate))
        else:
            theirs.append(training.video_step(a, b, mask_a, mask_b, rate))
    return ours, theirs, to_torch(state.variables, FORMATS["released"]), to_numpy(twin.state_dict())


def check(ours, theirs, before):
    """Compares losses to 1e-4 relative, arrays to 1e-4 of their largest value, and how they moved to 2%."""
    (our_losses, our_weights), (losses, weights) = ours, theirs
    np.testing.assert_allclose(our_losses, losses, rtol=1e-4)
    for name, value in weights.items():
        if name.endswith("num_batches_tracked"):
            continue
        scale = max(1.0, float(np.abs(value).max()))
        np.testing.assert_allclose(our_weights[name], value, rtol=0, atol=1e-4 * scale, err_msg=name)
        # Weights move by 1e-5 to 1e-3, so this comparison is stricter. It uses a norm, because rounding in float32
        # decides the gradient of a few weights, where a ReLU's input is nearly 0. The last term is the rounding of the
        # updates.
        move, rounding = np.linalg.norm(value - before[name]), 3e-7 * np.linalg.norm(value)
        assert np.linalg.norm(our_weights[name] - value) <= 0.02 * move + rounding, name
        frozen = "downsample.1." in name and "running" not in name
        assert (move == 0) == frozen, name


@pytest.mark.slow
@pytest.mark.parametrize("repeat_updates", [False, True])
def test_steps_with_one_block_a_layer(make_shallow_twin, shallow_weights, repeat_updates):
    """The learning rate drops at the third step."""
    size = (33, 41)
    images = np.stack([to_twin(smooth_frames(size, seed)) for seed in range(8)]).reshape(4, 2, 2, 3, *size)
    masks = (images[:, :, :, :1] > 20).astype(np.float32)
    assert 0.1 < masks.mean() < 0.9
    our_losses, losses, ours, theirs = train_both(make_shallow_twin(), images, masks, 20, repeat_updates)
    check((our_losses, ours), (losses, theirs), shallow_weights)
