"""Our network against the PyTorch twin, with one block a layer, and the table of their differences."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from jaxprs import HIGHEST, product_precisions

from cosnet_jax import Segmenter
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.interop.convert import convert_state_dict
from cosnet_jax.interop.parity import (
    our_stages,
    smooth_frames,
    stage_differences,
    to_twin,
)
from cosnet_jax.models.build import build_model

torch = pytest.importorskip("torch", reason="compares with PyTorch")
pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def shallow_network(shallow_weights):
    """Our network with the shallow twin's weights: (model, variables)."""
    variables, config, initial = convert_state_dict(shallow_weights, "released", "random weights")
    assert initial == []
    return build_model(config.model), variables


# Odd and even sides: where a side of the stem's output is even, ceil_mode pools one window more.
@pytest.mark.parametrize(
    "size", [*(pytest.param(size, marks=pytest.mark.slow) for size in ((95, 127), (129, 161))), (96, 160)]
)
def test_every_stage_agrees_with_the_twin(shallow_twin, shallow_network, size):
    pair = smooth_frames(size)
    with torch.no_grad():
        stages = shallow_twin.stages(*torch.from_numpy(to_twin(pair))[:, None])
    theirs = {name: value.numpy() for name, value in stages.items()}
    rows = stage_differences(our_stages(*shallow_network, pair), theirs)
    assert len(rows) == 11 and max(rows.values()) < 2e-5, rows
    assert theirs["y_a"].std() > 0.01  # a constant would agree as well


def test_every_product_of_ours_is_float32_on_any_accelerator(shallow_network):
    jaxpr = jax.make_jaxpr(functools.partial(our_stages, *shallow_network))(smooth_frames((95, 127)))
    precisions = product_precisions(jaxpr.jaxpr)
    assert len(precisions) > 20 and set(precisions) == {HIGHEST}


@pytest.fixture(scope="module")
def segmenter(shallow_network):
    return Segmenter(*shallow_network, InferenceConfig(), size=(41, 56))


def segment(twin, query, references, fusion):
    """The mask of a query (1, 3, h, w) from references (k, 1, 3, h, w), as (1, 1, h, w) probabilities.

    "prediction" (the release) averages pair predictions, "summary" (Eq. 13) gated summaries, "group" takes one softmax
    over all positions; "group_released" is the same after a softmax over i, which the release applies first by mistake.
    """
    v_a = twin.encoder(query)[0]
    v_b = torch.stack([twin.encoder(reference)[0] for reference in references])  # (k, n, c, h, w)
    if fusion.startswith("group"):
        v_b = torch.cat(list(v_b.flatten(3)), dim=2)[None]  # one reference of k h w positions: (1, n, c, j)
    summaries = []
    for v in v_b:
        s = twin.affinity(v_a, v)
        if fusion == "group_released":
            s = s.softmax(dim=1)
        z = torch.einsum("nij,ncj->nci", s.softmax(dim=2), v.flatten(2)).reshape(v_a.shape)
        summaries.append(twin.gated(z)[0])
    if fusion == "summary":
        summaries = [torch.stack(summaries).mean(dim=0)]
    logits = torch.cat([twin.head_a(z, v_a) for z in summaries])
    resized = torch.nn.functional.interpolate(logits, size=query.shape[2:], mode="bilinear", align_corners=False)
    return torch.sigmoid(resized).mean(dim=0, keepdim=True)


SLOW = [(fusion, count) for fusion in ("prediction", "group_released") for count in (1, 5)]


@pytest.mark.parametrize(
    ("fusion", "count"),
    [("summary", 5), ("group", 5), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
)
def test_fusions_agree_with_the_twin(segmenter, shallow_twin, fusion, count):
    frames = np.concatenate([smooth_frames((41, 56), seed) for seed in range(3)])
    references = list(range(1, count + 1))
    (ours,) = next(
        segmenter.predict(frames, [InferenceConfig(fusion=fusion, edge_radius=0)], references=references)
    ).probabilities
    images = torch.from_numpy(to_twin(frames))[:, None]
    with torch.no_grad():
        theirs = segment(shallow_twin, images[0], images[references], fusion)[0, 0].numpy()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)
    assert theirs.std() > 0.01


def test_differences_by_hand():
    theirs = {"b": np.array([1.0, -4.0]), "a": np.array([[0.0]])}
    ours = {"a": np.array([[0.0]]), "b": np.array([1.5, -4.0]), "c": np.array(1)}
    assert stage_differences(ours, theirs) == {"b": 0.125, "a": 0.0}
    assert np.isnan(stage_differences({"a": np.array([np.nan])}, {"a": np.array([1.0])})["a"])


def test_the_twin_takes_bgr_without_the_mean():
    frames = np.zeros((1, 2, 5, 3), np.uint8)
    frames[0, 1, 2] = (10, 20, 30)
    images = to_twin(frames)
    assert images.shape == (1, 3, 2, 5) and images.dtype == np.float32
    expected = np.array([30, 20, 10]) - (104.00699, 116.66877, 122.67892)
    np.testing.assert_allclose(images[0, :, 1, 2], expected, rtol=1e-6)
