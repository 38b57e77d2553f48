"""The optimiser against torch.optim.SGD, its schedule and its parameter groups."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict
from tiny_network import random_variables, tiny_network

from configs import base, synthetic
from cosnet_jax.errors import InputError
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.models.parameters import named_leaves
from cosnet_jax.training.optimizer import group_factors, make_optimizer, make_schedule, stop_frozen
from cosnet_jax.training.state import init_state
from cosnet_jax.training.steps import make_steps

try:
    import torch
except ImportError:
    torch = None

GROUPS = (("^encoder/body/", 0.0, 0.0), ("^encoder/", 1.0, 0.01), ("", 0.0, 10.0))


def config(**settings):
    values = {
        "name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "power": 0.9, "warmup_steps": 0,
        "no_decay": (), "groups": GROUPS, "drop_from": 1.0, "drop_factor": 0.5, "repeat_updates": False,
    }  # fmt: skip
    return ConfigDict({**values, **settings})


def parameters():
    rng = np.random.default_rng(0)
    shapes = {"encoder": {"body": {"kernel": (3,)}, "aspp": {"kernel": (4,)}}, "head_a": {"kernel": (2, 2)}}
    return {
        part: {name: {leaf: rng.normal(size=shape).astype(np.float32) for leaf, shape in leaves.items()}
               for name, leaves in names.items()} if part == "encoder"
        else {leaf: rng.normal(size=shape).astype(np.float32) for leaf, shape in names.items()}
        for part, names in shapes.items()
    }  # fmt: skip


@pytest.mark.torch
def test_sgd_with_groups_and_alternating_steps_is_pytorchs():
    params = parameters()
    optimizer = make_optimizer(config(), params, total_steps=10)
    state = optimizer.init(params)
    aspp, head = (
        torch.nn.Parameter(torch.tensor(p)) for p in (params["encoder"]["aspp"]["kernel"], params["head_a"]["kernel"])
    )
    theirs = torch.optim.SGD([{"params": [aspp]}, {"params": [head]}], lr=0.1, momentum=0.9, weight_decay=5e-4)
    frozen = params["encoder"]["body"]["kernel"].copy()
    rng = np.random.default_rng(1)
    for step, kind in enumerate(["still", "video", "video", "still", "video"]):
        gradients = {
            "encoder": {
                "body": {"kernel": rng.normal(size=3).astype(np.float32)},
                "aspp": {"kernel": rng.normal(size=4).astype(np.float32)},
            },
            "head_a": {"kernel": rng.normal(size=(2, 2)).astype(np.float32)},
        }
        updates, state = optimizer.update(gradients, state, params, kind=kind)
        params = optax.apply_updates(params, updates)
        rate = 0.1 * (1 - step / 10) ** 0.9
        for group, factor in zip(theirs.param_groups, (1.0, 0.0) if kind == "still" else (0.01, 10.0), strict=True):
            group["lr"] = rate * factor
        aspp.grad = torch.tensor(gradients["encoder"]["aspp"]["kernel"])
        head.grad = torch.tensor(gradients["head_a"]["kernel"])
        theirs.step()
        np.testing.assert_allclose(params["encoder"]["aspp"]["kernel"], aspp.detach(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(params["head_a"]["kernel"], head.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(params["encoder"]["body"]["kernel"], frozen)


def test_frozen_parameters_are_held():
    params = parameters()
    factors = group_factors(params, GROUPS)
    squares = lambda p: sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(stop_frozen(p, factors)))  # noqa: E731
    gradients = jax.grad(squares)(params)
    assert not gradients["encoder"]["body"]["kernel"].any()
    for part in (lambda tree: tree["encoder"]["aspp"], lambda tree: tree["head_a"]):  # a factor of 0 in one kind only
        np.testing.assert_allclose(part(gradients)["kernel"], 2 * part(params)["kernel"], rtol=1e-6)


def test_schedule_warms_up_and_decays_to_zero():
    rate = make_schedule(config(warmup_steps=4, learning_rate=1.0, power=0.5), 100)
    given = [float(rate(step)) for step in (0, 1, 3, 36, 100)]
    # (step + 1) / 4 for four steps, times (1 - step / 100) ** 0.5
    expected = [0.25, 0.5 * 0.99**0.5, 0.97**0.5, 0.8, 0.0]
    np.testing.assert_allclose(given, expected, rtol=1e-6)


def test_the_first_pattern_counts():
    factors = group_factors(parameters(), GROUPS)
    assert factors["still"] == {
        "encoder": {"body": {"kernel": 0.0}, "aspp": {"kernel": 1.0}}, "head_a": {"kernel": 0.0},
    }  # fmt: skip
    assert factors["video"]["head_a"]["kernel"] == 10.0


def test_a_parameter_without_group_is_named():
    with pytest.raises(InputError, match=r"no pattern matches the parameter 'head_a/kernel'"):
        group_factors(parameters(), (("^encoder/", 1.0, 1.0),))


def test_a_group_without_parameter_is_named():
    with pytest.raises(InputError, match="'\\^decoder/' is the first to match no parameter"):
        group_factors(parameters(), (("^decoder/", 1.0, 1.0), ("", 1.0, 1.0)))


def test_the_pattern_of_all_others_may_have_none():
    factors = group_factors({"encoder": {"kernel": jnp.zeros(1)}}, (("^encoder/", 1.0, 0.5), ("", 0.0, 1.0)))
    assert factors["video"] == {"encoder": {"kernel": 0.5}}


def test_only_kernels_and_weights_decay_in_the_papers_recipe():
    """Every parameter of the paper's network by name: what ends in kernel, and the diagonal D of Eq. 4."""
    settings = base.get_config()
    shapes = jax.eval_shape(lambda: init_variables(build_model(settings.model), 0))["params"]
    params = jax.tree.map(lambda leaf: jnp.ones(1), shapes)
    params["affinity"]["projection"] = jnp.eye(1)
    settings.optimizer.weight_decay = 0.1
    optimizer = make_optimizer(settings.optimizer, params, 10)
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    for name, update in named_leaves(updates).items():
        assert bool(update.any()) == (name.endswith("/kernel") or name == "affinity/diagonal"), name


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_what_is_exempt_does_not_decay(name):
    params = {"a": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}}
    settings = config(name=name, weight_decay=0.1, no_decay=("/bias$",), groups=(("", 1.0, 1.0),))
    optimizer = make_optimizer(settings, params, 10)
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    after = optax.apply_updates(params, updates)
    np.testing.assert_allclose(after["a"]["kernel"], 1 - 0.1 * 0.1, rtol=1e-6)
    np.testing.assert_array_equal(after["a"]["bias"], 1)


def test_unknown_optimiser_is_named():
    with pytest.raises(InputError, match=r"optimizer\.name is 'lion'; expected sgd or adamw"):
        make_optimizer(config(name="lion"), parameters(), 10)


def test_adamw_decays_and_takes_adams_first_step():
    params = {"x": jnp.array([1.0, -2.0])}
    optimizer = make_optimizer(config(name="adamw", weight_decay=0.1, groups=(("", 1.0, 1.0),)), params, 10)
    updates, _ = optimizer.update({"x": jnp.array([3.0, -4.0])}, optimizer.init(params), params)
    params = optax.apply_updates(params, updates)
    # Adam's first direction is the gradient's sign; decoupled decay adds 0.1 of the weight.
    np.testing.assert_allclose(params["x"], [1.0 - 0.1 * (1 + 0.1), -2.0 - 0.1 * (-1 - 0.2)], rtol=1e-5)


def test_any_optimiser_of_optax_can_take_its_place():
    settings, model = synthetic.get_config("smoke"), tiny_network()
    variables, optimizer = random_variables(model), optax.lion(1e-3)
    step = make_steps(model, optimizer, settings)["video"]
    shapes = {"image": (2, 2, 33, 33, 3), "mask": (2, 2, 33, 33)}
    batch = {name: jax.ShapeDtypeStruct(shape, jnp.uint8) for name, shape in shapes.items()}
    state, metrics = jax.eval_shape(step, init_state(variables, optimizer), batch)
    assert jax.tree.structure(state.params) == jax.tree.structure(variables["params"])
    assert {"loss", "coattention", "foreground", "finite"} <= metrics.keys()


def test_the_average_of_the_weights_is_exponential():
    settings, model = synthetic.get_config("smoke"), tiny_network()
    settings.optimizer.ema = 0.75
    variables = random_variables(model)
    optimizer = make_optimizer(settings.optimizer, variables["params"], 10)
    step = jax.jit(make_steps(model, optimizer, settings)["video"])
    batch = {"image": np.zeros((2, 2, 33, 33, 3), np.uint8), "mask": np.tile(np.tri(33, dtype=np.uint8), (2, 2, 1, 1))}
    state, expected = init_state(variables, optimizer, 0.75), variables["params"]
    for _ in range(2):
        state, _ = step(state, batch)
        expected = jax.tree.map(lambda mean, new: 0.75 * mean + 0.25 * new, expected, state.params)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)  # noqa: E731
    jax.tree.map(close, state.variables["params"], expected)
