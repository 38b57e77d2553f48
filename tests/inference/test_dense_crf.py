"""The CRF in JAX against stored results of pydensecrf and finite differences; test_crf.py has brute force."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cosnet_jax.inference import dense_crf
from cosnet_jax.inference.crf import CRFConfig

REFERENCE = np.load(Path(__file__).with_name("crf_reference.npz"))  # see make_crf_reference.py
NAMES = ("gaussian_sxy", "gaussian_compat", "bilateral_sxy", "bilateral_srgb", "bilateral_compat", "iterations")
SETTINGS = [
    CRFConfig(**dict(zip(NAMES, row, strict=True)) | {"iterations": int(row[-1])}) for row in REFERENCE["settings"]
]


def read_example(name: str) -> tuple[np.ndarray, np.ndarray]:
    return REFERENCE[f"{name}_image"], REFERENCE[f"{name}_probability"].astype(np.float32) / 255


@pytest.mark.parametrize(("name", "settings"), [("even", SETTINGS), ("odd", SETTINGS[:1])])
def test_probabilities_and_labels_are_those_of_pydensecrf(name, settings):
    found = [dense_crf.refine(*read_example(name), params) for params in settings]
    expected = REFERENCE[f"{name}_refined"] / 65535
    for refined, reference, params in zip(found, expected, settings, strict=True):
        assert refined.dtype == np.float32
        np.testing.assert_allclose(refined, reference, atol=2e-3, err_msg=str(params))
        assert abs(refined - reference).mean() < 5e-5
        assert ((np.asarray(refined) > 0.5) == (reference > 0.5)).mean() > 0.999
    for reference, other in itertools.pairwise(found):  # the settings can be told apart
        assert abs(reference - other).mean() > 0.005


def test_without_steps_the_unary_term_remains():
    image, probability = read_example("even")
    stretched = (probability - probability.min()) / (probability.max() - probability.min())
    for normalise, expected in ((True, stretched), (False, probability)):
        found = dense_crf.refine(image, probability, CRFConfig(iterations=0, normalise=normalise))
        np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 2)])
def test_tiny_frames(shape):
    image = np.random.default_rng(0).integers(256, size=(*shape, 3), dtype=np.uint8)
    probability = np.random.default_rng(1).uniform(0, 1, shape).astype(np.float32)
    found = dense_crf.refine(image, probability, CRFConfig())
    assert found.shape == shape and np.isfinite(found).all()


def test_the_smoothness_kernel_is_built_once_for_each_size():
    first = dense_crf.smoothness_kernel(9, 11, 1.0)
    assert dense_crf.smoothness_kernel(9, 11, 1.0) is first
    assert dense_crf.smoothness_kernel(11, 9, 1.0) is not first


def test_threads_give_the_same_as_one():
    example = read_example("odd")
    alone = dense_crf.refine(*example, CRFConfig())
    with ThreadPoolExecutor(3) as threads:
        for found in threads.map(lambda _: dense_crf.refine(*example, CRFConfig()), range(6)):
            np.testing.assert_array_equal(found, alone)


def test_gradients_are_finite_differences():
    image, probability = read_example("even")
    image, probability = image[10:16, 8:16], probability[10:16, 8:16]
    with jax.enable_x64(True):
        kernels = [
            dense_crf.smoothness_kernel.__wrapped__(6, 8, 1.0),
            dense_crf.normalised(dense_crf.appearance_lattice(image, 15.0, 7.0)),
        ]
        kernels = jax.tree.map(lambda x: x.astype("f8") if x.dtype == np.float32 else x, kernels)
        target = np.random.default_rng(0).uniform(0, 1, 48)

        @jax.jit
        def loss(probability, weights):
            unary = dense_crf.log_odds(probability, False).reshape(-1)
            return jnp.sum((dense_crf.mean_field(unary, kernels, weights, 3) - target) ** 2)

        point = (jnp.asarray(probability, "f8"), jnp.array([1.5, 2.0]))
        gradients = jax.grad(loss, argnums=(0, 1))(*point)
        rng = np.random.default_rng(1)
        for _ in range(3):
            direction = [rng.normal(size=x.shape) for x in point]
            ahead, behind = ([x + sign * 1e-5 * y for x, y in zip(point, direction, strict=True)] for sign in (1, -1))
            expected = (loss(*ahead) - loss(*behind)) / 2e-5
            found = sum(float((x * y).sum()) for x, y in zip(gradients, direction, strict=True))
            assert found == pytest.approx(float(expected), rel=1e-6) and abs(found) > 1e-3
