"""The training steps: over devices, by kind, and what they leave alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import synthetic
from cosnet_jax import parallel
from cosnet_jax.errors import InputError
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.training.optimizer import make_optimizer
from cosnet_jax.training.state import init_state
from cosnet_jax.training.steps import make_steps

BATCH = 8


@pytest.fixture(scope="module")
def config():
    config = synthetic.get_config()
    config.model.update({"blocks": 4, "channels": 8, "head_features": 4, "aspp_depth": 4})
    config.model.aspp_rates = (2,)
    config.optimizer.update({"name": "sgd", "learning_rate": 0.05, "warmup_steps": 0})
    config.loss.orthogonal = 0.1
    return config


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (BATCH, 2, 33, 40, 3)).astype(np.uint8)
    mask = (rng.random((BATCH, 2, 33, 40)) < rng.uniform(0.1, 0.6, (BATCH, 1, 1, 1))).astype(np.uint8)
    return {"still": {"image": image[:, 0], "mask": mask[:, 0]}, "video": {"image": image, "mask": mask}}


@pytest.fixture(scope="module")
def start(config):
    variables = init_variables(build_model(config.model), seed=0)
    optimizer = make_optimizer(config.optimizer, variables["params"], total_steps=10)
    return optimizer, init_state(variables, optimizer)


@pytest.fixture(scope="module")
def single(config, start, batches):
    """Each step's result on one device."""
    optimizer, state = start
    steps = make_steps(build_model(config.model), optimizer, config)
    return {kind: jax.jit(steps[kind])(state, batches[kind]) for kind in ("still", "video")}


@pytest.mark.parametrize("kind", ["still", "video"])
def test_four_devices_take_the_step_of_one(config, start, batches, single, kind):
    assert jax.device_count() == 4
    optimizer, state = start
    steps = make_steps(build_model(config.model, parallel.AXIS), optimizer, config)
    step = parallel.parallelise(steps[kind])
    given = step(parallel.replicate(jax.tree.map(jnp.copy, state)), parallel.shard(batches[kind]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5), given, single[kind])


def test_the_losses_of_the_configuration_are_added(config, start, batches):
    optimizer, state = start

    def loss(**settings):
        changed = config.copy_and_resolve_references()
        changed.loss.update(settings)
        step = make_steps(build_model(config.model), optimizer, changed)["still"]
        return float(jax.jit(step)(state, batches["still"])[1]["loss"])

    assert loss(entropy="plain") != loss(entropy="balanced")
    assert loss(entropy="plain", iou=2.0) - loss(entropy="plain") == pytest.approx(
        2 * (loss(entropy="plain", iou=1.0) - loss(entropy="plain")), rel=1e-4
    )
    with pytest.raises(InputError, match=r"loss.entropy is 'focal'; expected balanced or plain"):
        loss(entropy="focal")


def test_a_still_step_trains_the_encoder_alone(start, single):
    before, (after, metrics) = start[1].params, single["still"]
    assert metrics["loss"] == metrics["side"] > 0
    for name in ("affinity", "gate", "head_a"):
        jax.tree.map(np.testing.assert_array_equal, after.params[name], before[name])
    assert (after.params["encoder"]["side"]["kernel"] != before["encoder"]["side"]["kernel"]).any()
    assert (after.params["encoder"]["body"]["stem"]["kernel"] != before["encoder"]["body"]["stem"]["kernel"]).any()


def test_a_video_step_trains_everything(start, single):
    before, (after, _) = start[1].params, single["video"]
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), after.params, before)
    names = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, moved in jax.tree_util.tree_leaves_with_path(changed)
        if not moved
    }
    assert not names


def test_the_video_loss_is_the_sum_of_its_parts(config, single):
    metrics = single["video"][1]
    expected = metrics["coattention"] + config.loss.video_side * metrics["side"] + 0.1 * metrics["orthogonality"]
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-6)


def test_the_seed_and_the_step_say_what_the_head_does_not_see(config, start, batches):
    optimizer, state = start
    config = config.copy_and_resolve_references()
    model = build_model(config.model, head_dropout=0.5)

    def loss(seed, step):
        config.seed = seed
        take = jax.jit(make_steps(model, optimizer, config)["video"])
        return float(take(state.replace(step=step), batches["video"])[1]["coattention"])

    assert loss(0, 3) == loss(0, 3)
    assert len({loss(0, 3), loss(0, 4), loss(1, 3)}) == 3


def test_a_step_moves_the_running_statistics_and_counts(start, single):
    for state, _ in single.values():
        assert state.step == 1
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.batch_stats, start[1].batch_stats)
        assert all(jax.tree.leaves(moved["encoder"]))


def test_frozen_batch_norm_leaves_the_statistics(config, start, batches):
    optimizer, state = start
    frozen = config.copy_and_resolve_references()
    frozen.freeze_batch_norm = True
    step = make_steps(build_model(config.model), optimizer, frozen)["video"]
    after, _ = jax.jit(step)(state, batches["video"])
    jax.tree.map(np.testing.assert_array_equal, after.batch_stats, state.batch_stats)
