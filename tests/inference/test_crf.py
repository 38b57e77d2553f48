"""Both implementations of the CRF against brute-force mean field, and pydensecrf as the release calls it."""

from __future__ import annotations

import dataclasses
import importlib.util

import cv2
import numpy as np
import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.inference.crf import CRFConfig, check_installed, refine, refine_stream

needs_pydensecrf = pytest.mark.skipif(
    importlib.util.find_spec("pydensecrf") is None,
    reason="pydensecrf2 is not installed (it does not build on Python 3.13)",
)

# Weak enough that the probabilities stay soft and show every parameter; the defaults drive nearly all to 0 or 1.
SOFT = CRFConfig(gaussian_compat=1.0, bilateral_compat=1.0)


@pytest.fixture(params=["jax", pytest.param("pydensecrf", marks=needs_pydensecrf)])
def backend(request):
    """Runs a test with each implementation."""
    return request.param


def make_example(height=32, width=40, seed=0):
    """A disk on a shaded background, its noisy and misplaced probability map, and the truth."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    truth = (rows - height * 0.5) ** 2 + (columns - width * 0.45) ** 2 < (height * 0.3) ** 2
    colours = np.where(truth[..., None], [170, 120, 80], [90, 110, 130]) + columns[..., None] * 0.5
    image = (colours + rng.normal(0, 8, (height, width, 3))).clip(0, 255).astype(np.uint8)
    guess = (rows - height * 0.55) ** 2 + (columns - width * 0.52) ** 2 < (height * 0.33) ** 2
    soft = cv2.GaussianBlur(guess.astype(np.float32), (0, 0), 3) * 0.6 + 0.2
    return image, (soft + rng.normal(0, 0.05, soft.shape)).clip(0, 1).astype(np.float32), truth


def brute_force(image, probability, params):
    """Mean field of a fully connected CRF (Kraehenbuehl and Koltun 2011) with every pair of pixels written out."""
    height, width = probability.shape
    places = np.stack(np.mgrid[:height, :width], -1).reshape(-1, 2).astype(float)
    colours = image.reshape(-1, 3).astype(float)

    def kernel(features):
        values = np.exp(-0.5 * ((features[:, None] - features[None]) ** 2).sum(-1))
        norm = 1 / np.sqrt(values.sum(1))
        return norm[:, None] * values * norm[None]

    smoothness = params.gaussian_compat * kernel(places / params.gaussian_sxy)
    both = np.concatenate([places / params.bilateral_sxy, colours / params.bilateral_srgb], axis=1)
    appearance = params.bilateral_compat * kernel(both)
    foreground = probability.astype(float)
    if params.normalise:
        foreground = (foreground - foreground.min()) / (foreground.max() - foreground.min())
    unary = -np.log(np.clip([1 - foreground, foreground], 1e-5, 1)).reshape(2, -1)

    def softmax(energy):
        weights = np.exp(energy.min(0) - energy)
        return weights / weights.sum(0)

    labels = softmax(unary)
    for _ in range(params.iterations):
        labels = softmax(unary - labels @ (smoothness + appearance))
    return labels[1].reshape(height, width)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"bilateral_compat": 0.0, "gaussian_compat": 5.0, "iterations": 1},
        {"gaussian_compat": 0.0, "bilateral_sxy": 10.0, "bilateral_srgb": 12.0, "normalise": False},
    ],
)
def test_refine_is_mean_field(change, backend):
    image, probability, _ = make_example()
    params = dataclasses.replace(SOFT, **change, backend=backend)
    refined = refine(image, probability, params)
    assert refined.dtype == np.float32 and refined.shape == probability.shape
    # Both filter on a permutohedral lattice, whose Gaussian is piecewise linear: off by 2e-3 on average.
    assert abs(refined - brute_force(image, probability, params)).mean() < 4e-3


def test_defaults_label_as_brute_force_does_and_mend_the_mask(backend):
    image, probability, truth = make_example()
    refined = refine(image, probability, CRFConfig(backend=backend)) > 0.5
    # Strong weights amplify the lattice's error where two labels tie: single pixels.
    assert (refined != (brute_force(image, probability, CRFConfig()) > 0.5)).mean() < 0.005
    assert (refined != truth).mean() < 0.01 < 0.05 < ((probability > 0.5) != truth).mean()


@needs_pydensecrf
def test_refine_is_pydensecrf_called_as_the_release_does():
    from pydensecrf import densecrf, utils

    image, probability, _ = make_example(61, 83)
    stretched = (probability - probability.min()) / (probability.max() - probability.min())
    field = densecrf.DenseCRF2D(83, 61, 2)
    field.setUnaryEnergy(utils.unary_from_softmax(np.stack([1 - stretched, stretched]), scale=1.0))
    features = utils.create_pairwise_gaussian(sdims=(1, 1), shape=(61, 83))
    field.addPairwiseEnergy(features, compat=5, kernel=densecrf.DIAG_KERNEL, normalization=densecrf.NORMALIZE_SYMMETRIC)
    features = utils.create_pairwise_bilateral(sdims=(15, 15), schan=(7, 7, 7), img=image, chdim=2)
    field.addPairwiseEnergy(features, compat=9, kernel=densecrf.DIAG_KERNEL, normalization=densecrf.NORMALIZE_SYMMETRIC)
    expected = np.array(field.inference(5))[1].reshape(61, 83)
    found = refine(image, probability, CRFConfig(backend="pydensecrf"))
    np.testing.assert_allclose(found, expected, atol=1e-6)  # float32 rounding of the unary


def test_normalisation_makes_scale_and_offset_irrelevant_but_spares_constant_maps(backend):
    image, probability, _ = make_example()
    params = CRFConfig(backend=backend)
    expected = refine(image, probability, params)
    np.testing.assert_allclose(refine(image, probability * 0.25 + 0.5, params), expected, atol=1e-2)
    for constant in (0.0, 0.3, 1.0):
        refined = refine(image, np.full_like(probability, constant), params)
        assert np.isfinite(refined).all() and ((refined > 0.5) == (constant > 0.5)).all()


def test_a_stream_of_frames_of_several_sizes_comes_back_in_order(backend):
    examples = [make_example(20 + number % 2, 30, seed=number)[:2] for number in range(6)]
    params = dataclasses.replace(SOFT, backend=backend)
    items = ((number, *example) for number, example in enumerate(examples))
    refined = list(refine_stream(items, params, workers=2))
    assert [number for number, _ in refined] == list(range(6))
    for (_, found), example in zip(refined, examples, strict=True):
        np.testing.assert_array_equal(found, refine(*example, params))


@pytest.mark.parametrize(
    ("image", "probability", "message"),
    [
        (np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4)), r"uint8 \(4, 5, 3\) and \(5, 4\)"),
        (np.zeros((4, 5, 3), np.uint8), np.full((4, 5), np.nan), "finite"),
    ],
)
def test_wrong_arrays_are_refused(image, probability, message):
    with pytest.raises(InputError, match=message):
        refine(image, probability)


def test_wrong_parameters_and_a_missing_package_are_named(monkeypatch):
    with pytest.raises(InputError, match=r"crf\.bilateral_sxy is 0; expected a number from 0.001"):
        CRFConfig(bilateral_sxy=0)
    with pytest.raises(InputError, match=r"crf\.backend is 'numpy'; expected jax or pydensecrf"):
        CRFConfig(backend="numpy")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install pydensecrf2"):
        check_installed(CRFConfig(backend="pydensecrf"))
