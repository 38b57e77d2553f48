"""Batch normalisation against PyTorch, and its hand-written gradient against automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from torch_arrays import from_torch, normal, to_torch, torch

from cosnet_jax.models.batch_norm import BatchNorm, batch_statistics

EPSILON = 1e-5


@pytest.mark.torch
def test_batch_norm_is_pytorchs_over_three_steps_and_in_evaluation():
    theirs = torch.nn.BatchNorm2d(3)
    layer = BatchNorm()
    variables = layer.init(jax.random.key(0), jnp.zeros((1, 2, 2, 3)), False)
    variables["params"] = {"scale": jnp.array([1.0, 0.5, -2.0]), "bias": jnp.array([0.0, 1.0, 2.0])}
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor([1.0, 0.5, -2.0]))
        theirs.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
    for step in range(3):
        x = 3 + 2 * normal(step, 2, 4, 5, 3)
        given, updated = layer.apply(variables, x, True, mutable=["batch_stats"])
        np.testing.assert_allclose(given, from_torch(theirs(to_torch(x))), atol=1e-5)
        variables = {**variables, **updated}
    np.testing.assert_allclose(updated["batch_stats"]["mean"], theirs.running_mean, atol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["var"], theirs.running_var, atol=1e-5)  # the unbiased variance
    theirs.eval()
    np.testing.assert_allclose(layer.apply(variables, x, False), from_torch(theirs(to_torch(x))), atol=1e-5)


def test_batch_norm_shares_its_statistics_over_an_axis():
    x = normal(0, 8, 3, 3, 2)
    whole, single = BatchNorm(), BatchNorm(axis_name="batch")
    variables = whole.init(jax.random.key(0), x, False)
    expected, expected_stats = whole.apply(variables, x, True, mutable=["batch_stats"])

    def shard(x):
        return single.apply(variables, x, True, mutable=["batch_stats"])

    given, stats = jax.vmap(shard, axis_name="batch")(x.reshape(4, 2, 3, 3, 2))
    np.testing.assert_allclose(given.reshape(x.shape), expected, atol=1e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(stats["batch_stats"][name][0], expected_stats["batch_stats"][name], atol=1e-6)


def plain(variables, x, train, axis_name=None, relu=False, shortcut=None):
    """Batch normalisation as it reads, with two passes for the statistics, left to automatic differentiation."""
    out_type, x = x.dtype, x.astype(jnp.float32)
    mean, var = variables["batch_stats"]["mean"], variables["batch_stats"]["var"]
    if train:
        mean = x.mean((0, 1, 2)) if axis_name is None else lax.pmean(x.mean((0, 1, 2)), axis_name)
        var = jnp.square(x - mean).mean((0, 1, 2))
        var = var if axis_name is None else lax.pmean(var, axis_name)
    factor = variables["params"]["scale"] * lax.rsqrt(var + EPSILON)
    out = ((x - mean) * factor + variables["params"]["bias"]).astype(out_type)
    out = out if shortcut is None else out + shortcut
    return jax.nn.relu(out) if relu else out


def module(variables, x, train, axis_name=None, relu=False, shortcut=None):
    return BatchNorm(axis_name, relu).apply(variables, x, train, shortcut, mutable=["batch_stats"])[0]


def test_statistics_of_one_pass_do_not_cancel_about_the_running_mean():
    x = jnp.float32(1e3) + normal(0, 8, 16, 16, 2)  # the mean is 1,000 standard deviations from 0
    mean, var, count = batch_statistics(x, jnp.array([999.5, 1001.0]), None)
    exact = np.asarray(x, np.float64)
    assert count == 8 * 16 * 16
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-7)
    np.testing.assert_allclose(var, exact.var((0, 1, 2)), rtol=1e-6)


@pytest.fixture
def variables():
    params = {"scale": jnp.array([1.0, 0.5, -2.0]), "bias": jnp.array([0.0, 1.0, 2.0])}
    return {"params": params, "batch_stats": {"mean": jnp.array([0.5, 2.0, 3.0]), "var": jnp.array([1.0, 4.0, 0.3])}}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("then", ["nothing", "relu", "shortcut"])
def test_values_and_gradients_are_those_of_automatic_differentiation(variables, dtype, train, mapped, then):
    x, shortcut = (jnp.asarray(3 + 2 * normal(seed, 8, 5, 4, 3), dtype) for seed in (0, 2))
    weights = jnp.asarray(normal(1, 8, 5, 4, 3))

    def value_and_gradients(function):
        def project(params, x, shortcut, weights):
            axis_name, added = "batch" if mapped else None, shortcut if then == "shortcut" else None
            out = function({**variables, "params": params}, x, train, axis_name, then != "nothing", added)
            return (out * weights).sum(), out

        gradient = jax.grad(project, (0, 1, 2), has_aux=True)
        if not mapped:
            return gradient(variables["params"], x, shortcut, weights)
        split = [array.reshape(4, 2, *array.shape[1:]) for array in (x, shortcut, weights)]
        return jax.vmap(gradient, in_axes=(None, 0, 0, 0), axis_name="batch")(variables["params"], *split)

    (given, out), (expected, expected_out) = value_and_gradients(module), value_and_gradients(plain)
    assert out.dtype == given[1].dtype == dtype
    # The variance of one pass, and another order of summation, in float32; bfloat16 rounds to 2^-8.
    rtol = 2**-7 if dtype == jnp.bfloat16 else 1e-5
    np.testing.assert_allclose(np.asarray(out, np.float32), np.asarray(expected_out, np.float32), rtol=rtol, atol=2e-6)
    for ours, theirs in zip(jax.tree.leaves(given), jax.tree.leaves(expected), strict=True):
        largest = float(jnp.abs(theirs).max())
        np.testing.assert_allclose(
            np.asarray(ours, np.float32), np.asarray(theirs, np.float32), rtol=rtol, atol=3e-6 * largest
        )


@pytest.mark.parametrize("train", [True, False])
def test_the_backward_pass_keeps_the_input_in_its_own_type_and_behind_a_shortcut_the_result(variables, train):
    x = jax.ShapeDtypeStruct((2, 5, 4, 3), jnp.bfloat16)

    def kept(function, relu=False, *shortcut):
        def apply(variables, x, *shortcut):
            return function(variables, x, train, None, relu, *shortcut)

        pullback = jax.eval_shape(lambda *inputs: jax.vjp(apply, *inputs)[1], variables, x, *shortcut)
        return sorted(leaf.dtype.name for leaf in jax.tree.leaves(pullback) if leaf.size == x.size)

    assert kept(module) == kept(module, True) == ["bfloat16"]
    assert kept(module, True, x) == ["bfloat16"] * 2
    assert "float32" in kept(plain)
