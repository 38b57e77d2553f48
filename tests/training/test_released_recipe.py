"""The released recipe's parts, against torch and against the names in the authors' model."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import davis16_released
from cosnet_jax.errors import InputError
from cosnet_jax.interop.names import FORMATS, counterparts
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.training.optimizer import group_factors, make_optimizer, make_schedule
from cosnet_jax.training.released_recipe import released_loss, repeat_updates
from cosnet_jax.training.state import TrainState
from cosnet_jax.training.steps import make_steps, mean_gradients

try:
    import torch
except ImportError:
    torch = None


def example(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 3, (4, 5, 6)).astype(np.float32), (rng.random((4, 5, 6)) > 0.7).astype(np.uint8)


def torch_loss(logits, masks):
    prediction, mask = torch.sigmoid(torch.from_numpy(logits)), torch.from_numpy(masks).float()
    entropy, distance = torch.nn.functional.binary_cross_entropy, torch.nn.functional.l1_loss
    weight = mask.numel() / mask.sum()
    return float(weight * entropy(prediction, mask) + 0.8 * distance(prediction, mask))


@pytest.mark.torch
def test_the_loss_is_the_authors():
    logits, masks = example()
    np.testing.assert_allclose(released_loss(logits, masks, 0.8), torch_loss(logits, masks), rtol=1e-5)


@pytest.mark.torch
def test_devices_share_the_loss_of_the_whole_batch():
    logits, masks = example()
    masks[:2] = 0  # half of the devices see no foreground
    masks[2:, 0] = 1
    split = jax.vmap(lambda y, o: released_loss(y, o, 0.8, "batch"), axis_name="batch")
    np.testing.assert_allclose(split(logits[:, None], masks[:, None]).mean(), torch_loss(logits, masks), rtol=1e-5)


def test_parts_of_a_batch_are_weighted_by_their_own_foreground():
    logits, masks = example()
    masks[:2, 1:] = 0
    state = TrainState(jnp.int32(0), jnp.float32(0.0), {}, (), {})
    _, metrics, _ = mean_gradients(
        lambda bias, stats, batch: (released_loss(batch["image"] + bias, batch["mask"], 0.8), ({}, {})),
        state, {"image": jnp.array(logits), "mask": jnp.array(masks)}, 2,
    )  # fmt: skip
    parts = [released_loss(logits[part], masks[part], 0.8) for part in (slice(2), slice(2, 4))]
    np.testing.assert_allclose(metrics["loss"], np.mean(parts), rtol=1e-5)
    assert metrics["loss"] > 1.1 * released_loss(logits, masks, 0.8)


def test_a_batch_without_foreground_has_a_finite_loss_and_gradient():
    logits = example()[0] * 100
    loss, gradient = jax.value_and_grad(released_loss)(logits, np.zeros_like(logits), 0.8)
    assert np.isfinite(loss) and np.isfinite(gradient).all()


@pytest.fixture(scope="module")
def released():
    """The released configuration, and the shapes of its parameters."""
    config = davis16_released.get_config()
    model = build_model(config.model)
    return config, model, jax.eval_shape(lambda: init_variables(model, 0))


def by_torch_name(tree, variables):
    """Leaves of a tree like the parameters, by the authors' names."""
    leaves = {
        "params/" + jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    names = counterparts({"params": variables["params"]}, FORMATS["released"].rows)
    return {theirs: leaves[ours] for theirs, ours in names.items()}


def test_updates_are_repeated_for_every_module_around_a_parameter(released):
    """Below the encoder, a parameter counts once for every component of its name but the first two and the last."""
    _, _, variables = released
    params = jax.tree.map(lambda leaf: jnp.zeros(()), variables["params"])
    counting = repeat_updates(optax.sgd(1.0), params)
    updates, _ = counting.update(jax.tree.map(jnp.ones_like, params), counting.init(params), params)
    counts = by_torch_name(jax.tree.map(lambda leaf: -int(leaf), updates), variables)
    assert len(counts) == 351
    for name, count in counts.items():
        depth = name.count(".") - 1 if name.startswith("encoder.") else 1
        assert count == depth, name
    assert sorted(set(counts.values())) == [1, 2, 3, 4]


def test_repeated_updates_are_sgd_steps_in_a_row_with_one_rate():
    """Momentum and decay go on within a step, the schedule does not."""
    params = {"encoder": {"body": {"layer1_0": {"conv1": {"kernel": jnp.float32(2.0)}}}}, "gate": jnp.float32(2.0)}
    inner = optax.chain(
        optax.add_decayed_weights(0.1), optax.trace(0.9), optax.scale_by_learning_rate(lambda step: 0.5 / (step + 1))
    )
    optimizer = repeat_updates(inner, params)
    state, expected = optimizer.init(params), {3: [2.0, 0.0], 1: [2.0, 0.0]}
    for step in range(2):
        updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
        params = optax.apply_updates(params, updates)
        for times, (weight, momentum) in expected.items():
            for _ in range(times):
                momentum = 0.9 * momentum + 1 + 0.1 * weight
                weight -= 0.5 / (step + 1) * momentum
            expected[times] = [weight, momentum]
    given = params["encoder"]["body"]["layer1_0"]["conv1"]["kernel"], params["gate"]
    np.testing.assert_allclose(given, [expected[3][0], expected[1][0]], rtol=1e-5)


def test_groups_and_frozen_parameters_are_the_authors(released):
    config, _, variables = released
    factors = group_factors(variables["params"], config.optimizer.groups)
    still, video = (by_torch_name(factors[kind], variables) for kind in ("still", "video"))
    for name in still:
        frozen = "downsample.1." in name
        encoder = name.startswith("encoder.")
        expected = (0, 0) if frozen else (1, 0.01) if encoder else (0, 10)
        assert (still[name], video[name]) == expected, name


def test_the_learning_rate_is_halved_after_epoch_5(released):
    config, _, _ = released
    schedule = make_schedule(config.optimizer, config.total_steps)
    epoch = config.total_steps // 60
    for step in (0, 3 * epoch, 6 * epoch - 1, 6 * epoch, 59 * epoch):
        factor = 1 if step // epoch <= 5 else 0.5
        expected = 2.5e-4 * factor * (1 - step / config.total_steps) ** 0.9
        np.testing.assert_allclose(schedule(jnp.int32(step)), expected, rtol=1e-5)


def test_what_does_not_go_together_is_refused(released):
    config, _, variables = released
    adamw = config.optimizer.copy_and_resolve_references()
    adamw.name = "adamw"
    with pytest.raises(InputError, match=r"repeat_updates is for sgd; optimizer\.name is 'adamw'"):
        make_optimizer(adamw, variables["params"], 10)
    for settings, message in (
        ({"model.coattention": "symmetric"}, r"recipe released is for vanilla or channelwise; .* is 'symmetric'"),
    ):
        wrong = davis16_released.get_config()
        wrong.update_from_flattened_dict(settings)
        with pytest.raises(InputError, match=message):
            make_steps(build_model(wrong.model), None, wrong)
