"""The co-attention against loops over positions, written from Eqs. 1-9 of the paper."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cosnet_jax.models import coattention
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.models.mobilenet import MobileNetV2

N, H, W, C = 2, 3, 4, 8


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def affinity_matrix(variant, params, v_a, v_b):
    """S of Eqs. 1, 4 and 5 for one pair: v_a and v_b are C x (WH), as in the paper."""
    s = np.zeros((v_b.shape[1], v_a.shape[1]))
    if variant == "vanilla":
        w = np.asarray(params["affinity"]["weight"], np.float64)
    elif variant == "symmetric":
        p, d = (np.asarray(params["affinity"][name], np.float64) for name in ("projection", "diagonal"))
        w = p.T @ np.diag(d) @ p
    else:
        kernel, bias = (np.asarray(params["affinity"]["dense"][name], np.float64) for name in ("kernel", "bias"))
        d_a, d_b = (np.diag(sigmoid(v.mean(axis=1) @ kernel + bias)) for v in (v_a, v_b))
        v_a, v_b, w = d_b @ v_a, d_a @ v_b, np.eye(len(v_a))  # Eq. 5: each weighted by the other branch
    for j in range(v_b.shape[1]):
        for i in range(v_a.shape[1]):
            s[j, i] = v_b[:, j] @ w @ v_a[:, i]
    return s


def summaries(s, v_a, v_b):
    """Z_a and Z_b of Eqs. 6 and 7."""
    z_a, z_b = np.zeros((C, v_a.shape[1])), np.zeros((C, v_b.shape[1]))
    for i in range(v_a.shape[1]):
        weights = np.exp(s[:, i] - s[:, i].max())
        weights /= weights.sum()
        for j in range(v_b.shape[1]):
            z_a[:, i] += v_b[:, j] * weights[j]
    for j in range(v_b.shape[1]):
        weights = np.exp(s[j] - s[j].max())
        weights /= weights.sum()
        for i in range(v_a.shape[1]):
            z_b[:, j] += v_a[:, i] * weights[i]
    return z_a, z_b


def gated(params, z):
    """Eqs. 8 and 9."""
    w_f = np.asarray(params["gate"]["conv"]["kernel"], np.float64)[0, 0, :, 0]
    b_f = float(params["gate"]["conv"]["bias"][0])
    return z * sigmoid(w_f @ z + b_f)


@pytest.fixture(params=["vanilla", "symmetric", "channelwise", "vanilla pooled", "symmetric pooled"])
def network(request):
    """A network with random co-attention parameters, and features of four frames."""
    variant, *pooled = request.param.split()
    model = COSNet(
        MobileNetV2(), channels=C, head_features=4, coattention=variant, reference_pooling=2 if pooled else 1
    )
    features = np.random.default_rng(0).normal(size=(4, N, H, W, C)).astype(np.float32)
    params = model.init(jax.random.key(0), features[0], features[1], (9, 12), method="decode_pair")["params"]
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    random = [jax.random.normal(key, leaf.shape) * 0.5 for key, leaf in zip(keys, leaves, strict=True)]
    return variant, model, jax.tree.unflatten(structure, random), features


def columns(features):
    """(h, w, c) to the paper's C x (WH), in float64."""
    return np.asarray(features, np.float64).reshape(-1, C).T


def reference_columns(model, features):
    """`columns` of what a reference is compared by: the means of squares, of which those at the edges are cut off."""
    side, features = model.reference_pooling, np.asarray(features, np.float64)
    corners = [(row, column) for row in range(0, H, side) for column in range(0, W, side)]
    return np.stack([features[r : r + side, c : c + side].mean(axis=(0, 1)) for r, c in corners], axis=1)


def test_summaries_of_a_pair_are_the_equations(network):
    variant, model, params, features = network
    a, b = features[:2]
    variables = {"params": params}
    variables |= {"batch_stats": model.init(jax.random.key(0), a, b, (9, 12), method="decode_pair")["batch_stats"]}
    _, aux = model.apply(variables, a, b, (9, 12), method="decode_pair")
    given = jnp.moveaxis(aux["summary"] * aux["gate"][..., None], 1, 0)  # both branches
    for example in range(N):
        v_a, v_b = columns(a[example]), columns(b[example])
        pooled_a, pooled_b = (reference_columns(model, features[example]) for features in (a, b))
        z_a, _ = summaries(affinity_matrix(variant, params, v_a, pooled_b), v_a, pooled_b)
        _, z_b = summaries(affinity_matrix(variant, params, pooled_a, v_b), pooled_a, v_b)
        # Float32 against float64: sums of 12 terms of order 1.
        np.testing.assert_allclose(columns(given[0, example]), gated(params, z_a), atol=2e-6, rtol=1e-5)
        np.testing.assert_allclose(columns(given[1, example]), gated(params, z_b), atol=2e-6, rtol=1e-5)


def test_summary_fusion_is_equation_13(network):
    variant, model, params, features = network
    query, references = features[0], features[1:]
    variables = {"params": params}
    keys = [model.apply(variables, reference, method="keys") for reference in references]
    values = [model.apply(variables, reference, method="values") for reference in references]
    given, _ = model.apply(variables, query, jnp.stack(keys, 1), jnp.stack(values, 1), method="attend")
    for example in range(N):
        v_a = columns(query[example])
        expected = 0
        for reference in references:
            v_b = reference_columns(model, reference[example])
            z_a, _ = summaries(affinity_matrix(variant, params, v_a, v_b), v_a, v_b)
            expected = expected + gated(params, z_a) / len(references)
        np.testing.assert_allclose(columns(given[example]), expected, atol=2e-6, rtol=1e-5)


ROWS = 4 * N * 7 / 2**20  # MiB of one position of b below


@pytest.mark.parametrize("rows", [1, 3, 4, 10])  # of 11: blocks with and without a rest
@pytest.mark.parametrize("normalise_queries", [False, True])
def test_blocks_give_the_dense_summary_and_its_gradients(rows, normalise_queries):
    rng = np.random.default_rng(0)
    shapes = (N, 7, C), (N, 11, C), (N, 11, 5)
    arrays = [jnp.array(rng.normal(size=shape), jnp.float32) * 3 for shape in shapes]  # S up to 200: a sharp softmax
    direction = jnp.array(rng.normal(size=(N, 7, 5)), jnp.float32)

    def value_and_gradients(budget):
        def project(*arrays):
            summary = coattention.attend(*arrays, budget, normalise_queries)
            return (summary * direction).sum(), summary

        gradients, summary = jax.jit(jax.grad(project, argnums=(0, 1, 2), has_aux=True))(*arrays)
        return summary, *gradients

    # Another order of summation in float32.
    for given, expected in zip(value_and_gradients(rows * ROWS), value_and_gradients(1), strict=True):
        np.testing.assert_allclose(given, expected, atol=2e-5 * float(jnp.abs(expected).max()))


def test_no_affinity_of_all_positions_is_made_above_the_budget():
    queries, keys = jnp.zeros((1, 96, 4)), jnp.zeros((1, 160, 4))

    def largest(budget):
        def project(*arrays):
            return coattention.attend(*arrays, budget).sum()

        jaxpr = jax.make_jaxpr(jax.grad(project, argnums=(0, 1, 2)))(queries, keys, keys)
        sizes = [int(np.prod(shape.split(","), dtype=int)) for shape in re.findall(r"f32\[([0-9,]+)\]", str(jaxpr))]
        return max(sizes)

    assert largest(1) >= 96 * 160
    assert largest(16 * 96 * 4 / 2**20) <= 10 * 96 * 4  # what is kept of each of 10 blocks: the summaries so far


@pytest.mark.parametrize("variant", ["vanilla", "symmetric", "channelwise"])
def test_a_budget_changes_no_logits(variant):
    dense = COSNet(MobileNetV2(), channels=C, coattention=variant, head_features=4)
    blockwise = dense.clone(affinity_budget=1e-4)
    a, b = np.random.default_rng(0).normal(size=(2, N, H, W, C)).astype(np.float32) * 3
    variables = dense.init(jax.random.key(0), a, b, (9, 12), method="decode_pair")
    given, expected = (model.apply(variables, a, b, (9, 12), method="decode_pair")[0] for model in (blockwise, dense))
    assert float(jnp.ptp(expected)) > 0.01
    np.testing.assert_allclose(given, expected, atol=1e-5)
