"""The CRF in JAX against stored results of pydensecrf; test_crf.py has brute force."""

from __future__ import annotations

import itertools
from pathlib import Path

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
