"""Rematerialisation changes no value, gradient or name; it keeps less, and does not synchronise devices again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cosnet_jax.models.build import build_model
from cosnet_jax.models.rematerialisation import rematerialise
from cosnet_jax.models.resnet import Bottleneck

TINY = {"channels": 8, "aspp_depth": 8, "aspp_rates": (2,), "head_features": 4}


def loss_of(model):
    """The function (params, batch_stats, images) -> (loss, new statistics)."""

    def loss(params, batch_stats, images):
        variables = {"params": params, "batch_stats": batch_stats}
        out, updated = model.apply(variables, images, True, mutable=["batch_stats"])
        return sum(jnp.square(leaf).mean() for leaf in jax.tree.leaves(out)), updated

    return loss


def test_values_gradients_and_statistics_of_a_block_stay():
    settings = {"stride": 1, "dilation": 2, "stride_in_first": True, "project": True, "axis_name": None}
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 9, 3)), jnp.float32)
    results = []
    for block in (Bottleneck, rematerialise(Bottleneck, train=2)):
        model = block(4, **settings, dtype=jnp.float32)
        variables = model.init(jax.random.key(0), images, False)
        gradient = jax.jit(jax.value_and_grad(loss_of(model), has_aux=True))
        results.append((variables, gradient(variables["params"], variables["batch_stats"], images)))
    # The compiler may fuse the two programs differently.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *results)


def shapes(model):
    return jax.eval_shape(model.lazy_init, jax.random.key(0), jax.ShapeDtypeStruct((1, 2, 65, 65, 3), jnp.float32))


def kept_bytes(model):
    """The bytes that automatic differentiation keeps for the backward pass, without the parameters."""
    variables = shapes(model)
    loss = loss_of(model)

    def pullback(params, *rest):
        return jax.vjp(lambda params: loss(params, *rest), params, has_aux=True)[1]

    pair = jax.ShapeDtypeStruct((1, 2, 65, 65, 3), jnp.float32)
    kept = jax.eval_shape(pullback, variables["params"], variables["batch_stats"], pair)
    sizes = [
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)) for tree in (kept, variables["params"])
    ]
    return sizes[0] - sizes[1]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v2"])
def test_the_backward_pass_of_a_network_keeps_a_third_and_parameters_keep_their_names(backbone):
    plain, again = (build_model({"backbone": backbone, **TINY, "remat": remat}) for remat in (False, True))
    assert shapes(again) == shapes(plain)
    assert kept_bytes(again) < kept_bytes(plain) / 3


@pytest.mark.slow
def test_statistics_are_not_averaged_over_devices_again():
    def collectives(block):
        model = block(4, 1, 1, True, False, "batch", jnp.float32)
        x = jnp.ones((1, 5, 5, 16))
        variables = model.init(jax.random.key(0), x, False)
        gradient = jax.grad(loss_of(model), has_aux=True)
        jaxpr = jax.make_jaxpr(gradient, axis_env=[("batch", 2)])(variables["params"], variables["batch_stats"], x)
        return str(jaxpr).count("= psum")

    plain, again = collectives(Bottleneck), collectives(rematerialise(Bottleneck, train=2))
    assert again == plain == 3 * 4  # mean, variance and the two gradients of each of three batch normalisations
