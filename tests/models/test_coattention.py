"""The co-attention against loops over positions, written from Eqs. 1-9 of the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cosnet_jax.models.cosnet import COSNet

N, H, W, C = 2, 3, 4, 8


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def affinity_matrix(variant, params, v_a, v_b):
    """S of Eqs. 1, 4 and 5 for one pair: v_a and v_b are C x (WH), as in the paper."""
    positions = v_a.shape[1]
    s = np.zeros((positions, positions))
    if variant == "vanilla":
        w = np.asarray(params["affinity"]["weight"], np.float64)
    elif variant == "symmetric":
        p, d = (np.asarray(params["affinity"][name], np.float64) for name in ("projection", "diagonal"))
        w = p.T @ np.diag(d) @ p
    else:
        kernel, bias = (np.asarray(params["affinity"]["dense"][name], np.float64) for name in ("kernel", "bias"))
        d_a, d_b = (np.diag(sigmoid(v.mean(axis=1) @ kernel + bias)) for v in (v_a, v_b))
        v_a, v_b, w = d_b @ v_a, d_a @ v_b, np.eye(len(v_a))  # Eq. 5: each weighted by the other branch
    for j in range(positions):
        for i in range(positions):
            s[j, i] = v_b[:, j] @ w @ v_a[:, i]
    return s


def summaries(s, v_a, v_b):
    """Z_a and Z_b of Eqs. 6 and 7."""
    z_a, z_b = np.zeros_like(v_a), np.zeros_like(v_b)
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


@pytest.fixture(params=["vanilla", "symmetric", "channelwise"])
def network(request):
    """A network with random co-attention parameters, and features of four frames."""
    model = COSNet(channels=C, coattention=request.param)
    features = np.random.default_rng(0).normal(size=(4, N, H, W, C)).astype(np.float32)
    flat = features.reshape(4, N, 1, H * W, C)
    params = model.init(jax.random.key(0), features[0], flat[1], flat[1], method="attend")["params"]
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    random = [jax.random.normal(key, leaf.shape) * 0.5 for key, leaf in zip(keys, leaves, strict=True)]
    return request.param, model, jax.tree.unflatten(structure, random), features


def columns(features):
    """(h, w, c) to the paper's C x (WH), in float64."""
    return np.asarray(features, np.float64).reshape(-1, C).T


def test_summaries_of_a_pair_are_the_equations(network, monkeypatch):
    variant, model, params, features = network
    a, b = features[:2]
    seen = {}

    def encode(self, images, train=False):
        return jnp.stack([a, b], axis=1).reshape(2 * N, H, W, C)

    def decode(self, head, features, summary, size, train):
        seen["summary"] = summary
        return jnp.zeros((len(features), *size))

    monkeypatch.setattr(COSNet, "encode", encode)
    monkeypatch.setattr(COSNet, "_decode", decode)
    monkeypatch.setattr(COSNet, "side_logits", lambda self, features, size: jnp.zeros((len(features), *size)))
    model.apply({"params": params}, jnp.zeros((N, 2, 17, 17, 3)))
    given = seen["summary"].reshape(2, N, H, W, C)  # both branches
    for example in range(N):
        v_a, v_b = columns(a[example]), columns(b[example])
        z_a, z_b = summaries(affinity_matrix(variant, params, v_a, v_b), v_a, v_b)
        # Float32 against float64: sums of 12 terms of order 1.
        np.testing.assert_allclose(columns(given[0, example]), gated(params, z_a), atol=2e-6, rtol=1e-5)
        np.testing.assert_allclose(columns(given[1, example]), gated(params, z_b), atol=2e-6, rtol=1e-5)


def test_summary_fusion_is_equation_13(network):
    variant, model, params, features = network
    query, references = features[0], features[1:]
    variables = {"params": params}
    keys = [model.apply(variables, reference, method="keys") for reference in references]
    values = [reference.reshape(N, H * W, C) for reference in references]
    given = model.apply(variables, query, jnp.stack(keys, 1), jnp.stack(values, 1), method="attend")
    for example in range(N):
        v_a = columns(query[example])
        expected = 0
        for reference in references:
            v_b = columns(reference[example])
            z_a, _ = summaries(affinity_matrix(variant, params, v_a, v_b), v_a, v_b)
            expected = expected + gated(params, z_a) / len(references)
        np.testing.assert_allclose(columns(given[example]), expected, atol=2e-6, rtol=1e-5)
