"""P of symmetric co-attention stays orthogonal: the projection against an SVD, and each recipe that trains it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_network import make_tiny, random_variables

from configs import davis16, davis16_lite, synthetic
from cosnet_jax.models.build import build_model
from cosnet_jax.training.optimizer import make_optimizer
from cosnet_jax.training.orthogonal import nearest_orthogonal
from cosnet_jax.training.state import init_state
from cosnet_jax.training.steps import make_steps

RECIPES = [  # those with symmetric co-attention; davis16_released has the vanilla one
    davis16.get_config(),
    synthetic.get_config(),
    davis16_lite.get_config(),
    davis16_lite.get_config("finetune"),
]


def matrix(singular_values, seed=0):
    """A matrix with given singular values, and the orthogonal one nearest to it: U V^T of its SVD."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=2 * (len(singular_values),)))[0] for _ in range(2))
    return (u * singular_values @ v).astype(np.float32), u @ v


def largest_deviation(projection):
    """The largest entry of |P P^T - I|, in float64."""
    projection = np.asarray(projection, np.float64)
    return np.abs(projection @ projection.T - np.eye(len(projection))).max()


def test_it_is_the_nearest_orthogonal_matrix():
    given, expected = matrix(np.linspace(0.85, 1.15, 32))
    np.testing.assert_allclose(nearest_orthogonal(jnp.array(given)), expected, atol=3e-6)
    np.testing.assert_allclose(nearest_orthogonal(jnp.array(expected, jnp.float32)), expected, atol=1e-6)


def test_a_matrix_of_a_training_without_the_constraint_becomes_orthogonal_in_a_few_steps():
    given, expected = matrix(np.geomspace(0.018, 2.46, 32))  # the range of the model that version 1 shipped
    projection = jnp.array(given)
    for _ in range(5):
        projection = nearest_orthogonal(projection)
    np.testing.assert_allclose(projection, expected, atol=1e-4)  # its condition number is 137


def start(config, channels):
    """A recipe's state after the warm-up, its optimiser and its steps, with a tiny network of some channels."""
    config = make_tiny(config.copy_and_resolve_references())
    config.model.update({"channels": channels, "low_level": 0, "output_stride": 8})
    config.optimizer.warmup_steps = 0
    model = build_model(config.model)
    variables = random_variables(model)
    variables["params"]["affinity"]["projection"] = matrix(np.ones(channels))[0]
    optimizer = make_optimizer(config.optimizer, variables["params"], config.total_steps)
    return init_state(variables, optimizer), optimizer, make_steps(model, optimizer, config)


@pytest.mark.parametrize("config", RECIPES, ids=lambda config: config.name)
def test_each_recipes_optimiser_keeps_p_orthogonal_whatever_the_gradients(config):
    """Gradients with a mean and noise; 0.1 to 10 times as large as P's entries, which are about 0.2."""
    state, optimizer, _ = start(config, channels=32)
    kind = config.step_pattern.split(",")[-1]
    params, opt_state = state.params, state.opt_state
    before, rng = np.asarray(params["affinity"]["projection"]), np.random.default_rng(0)
    mean = rng.normal(size=before.shape)
    update = jax.jit(optimizer.update, static_argnames="kind")
    for step in range(15):
        gradients = jax.tree.map(jnp.zeros_like, params)
        noisy = (mean + rng.normal(size=before.shape)) * (0.02 if step < 5 else 2.0)
        gradients["affinity"]["projection"] = jnp.array(noisy, jnp.float32)
        updates, opt_state = update(gradients, opt_state, params, kind=kind)
        params = optax.apply_updates(params, updates)
        assert largest_deviation(params["affinity"]["projection"]) < 1e-5
    assert np.abs(np.asarray(params["affinity"]["projection"]) - before).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("config", RECIPES, ids=lambda config: config.name)
def test_p_stays_orthogonal_through_a_training(config):
    """With the recipe's own pattern of steps, losses, optimiser and learning rate."""
    state, _, steps = start(config, channels=16)
    steps = {kind: jax.jit(step) for kind, step in steps.items()}
    pattern = itertools.cycle(config.step_pattern.split(","))
    rng = np.random.default_rng(0)
    mask = rng.random((2, 2, 33, 40)) < 0.3
    pairs = {"image": (rng.integers(0, 100, (2, 2, 33, 40, 3)) + 150 * mask[..., None]).astype(np.uint8), "mask": mask}
    batches = {"video": pairs, "still": {name: array[:, 0] for name, array in pairs.items()}}
    before = np.asarray(state.params["affinity"]["projection"])
    for kind in itertools.islice(pattern, 40):
        state, metrics = steps[kind](state, batches[kind])
        assert largest_deviation(state.params["affinity"]["projection"]) < 1e-5
    assert metrics["finite"]
    assert (np.asarray(state.params["affinity"]["projection"]) != before).any()
