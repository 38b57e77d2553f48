"""Sharing between settings must not show in the maps."""

import jax
import numpy as np
import pytest

from cosnet_jax.inference.segmenter import InferenceOptions, Segmenter
from cosnet_jax.inference.sharing import SharingSegmenter, blocks
from cosnet_jax.models.build import init_variables
from cosnet_jax.models.cosnet import COSNet

SIZE = (32, 40)
SETTINGS = [
    *(InferenceOptions(n) for n in (0, 1, 2, 5)),
    InferenceOptions(5, fusion="prediction"),
    InferenceOptions(5, "random", seed=3),
    InferenceOptions(5, "consecutive"),
]


@pytest.fixture(scope="module")
def network():
    model = COSNet(
        backbone="mobilenet_v2", width=0.35, blocks=4, channels=8, head_features=4, aspp_depth=4, aspp_rates=(2,),
        input_scaling="unit",
    )  # fmt: skip
    variables = init_variables(model, seed=0)
    weight = 3 * jax.random.normal(jax.random.key(1), (8, 8))
    return model, {**variables, "params": {**variables["params"], "affinity": {"weight": weight}}}


@pytest.mark.parametrize("frame_size", [(50, 61), (61, 50)])
def test_maps_are_those_of_each_setting_alone(network, frame_size):
    video = np.random.default_rng(0).integers(0, 256, (9, *frame_size, 3)).astype(np.uint8)
    shared = np.array(list(SharingSegmenter(*network, SIZE).stream_settings(video, SETTINGS)))
    alone = Segmenter(*network, SIZE)
    for number, setting in enumerate(SETTINGS):
        expected = np.array([maps[0] for maps in alone.stream_settings(video, [setting])])
        np.testing.assert_allclose(shared[:, number], expected, atol=2e-6)  # float32 rounding
    assert shared.std(axis=1).max() > 1e-3  # the settings do differ


def test_each_pair_is_compared_once(network, monkeypatch):
    segmenter = SharingSegmenter(*network, SIZE)
    summarise, decode, compared, decoded = segmenter._summarise, segmenter._decode, [], []

    def counted_summarise(variables, query, references):
        compared.append(len(references))
        return summarise(variables, query, references)

    def counted_decode(variables, query, summaries, size):
        decoded.append(len(summaries))
        return decode(variables, query, summaries, size)

    monkeypatch.setattr(segmenter, "_summarise", counted_summarise)
    monkeypatch.setattr(segmenter, "_decode", counted_decode)
    video = np.zeros((3, 20, 20, 3), np.uint8)
    for _ in segmenter.stream_settings(
        video, [InferenceOptions(2), InferenceOptions(2, fusion="prediction"), InferenceOptions(1), InferenceOptions(0)]
    ):
        pass
    assert sum(compared) == 3 * 2  # the two other frames of each of the three
    assert decoded == [3] * 3  # their mean, and each of them alone: one of these is also N = 1


@pytest.mark.parametrize("count", [0, 1, 3, 8, 23])
def test_blocks_hold_all_in_order(count):
    parts = list(blocks(list(range(count))))
    assert [item for part in parts for item in part] == list(range(count))
    assert {len(part) for part in parts} <= {1, 2, 4, 8}


def test_other_fusions_are_refused(network):
    video = np.zeros((2, 20, 20, 3), np.uint8)
    with pytest.raises(ValueError, match="fusion is 'group'; expected summary or prediction"):
        next(SharingSegmenter(*network, SIZE).stream_settings(video, [InferenceOptions(1, fusion="group")]))
