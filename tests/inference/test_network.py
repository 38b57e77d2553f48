"""The precision that inference asks accelerators for; what the functions compute is tested with the segmenter."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jaxprs import HIGHEST, product_precisions
from tiny_network import random_variables, tiny_network, tiny_synthetic

from cosnet_jax.inference import segmenter as segmenter_module
from cosnet_jax.inference.attention_maps import attention_maps
from cosnet_jax.inference.network import Network
from cosnet_jax.inference.options import FUSIONS
from cosnet_jax.inference.provenance import describe_inference
from cosnet_jax.inference.segmenter import Segmenter

SIZE = (32, 40)


def test_the_precision_reaches_every_product():
    model = tiny_network()
    variables = random_variables(model)

    def precisions(setting):
        network = Network(model, SIZE, 1, setting)

        def segment(variables, frames):
            images = [network.resize_input(frame) for frame in frames]
            encoded = {index: next(network.encode(variables, [image])) for index, image in enumerate(images)}
            references = np.array([[1, 2]])
            alone = network.segment(variables, encoded, [0], references[:, :0], "summary", 2)
            maps = [network.segment(variables, encoded, [0], references, fusion, 2) for fusion in FUSIONS]
            return images, alone, maps

        found = product_precisions(jax.make_jaxpr(segment)(variables, np.zeros((3, 48, 64, 3), np.uint8)).jaxpr)
        assert len(found) > 50
        return set(found)

    assert precisions("float32") == {HIGHEST}
    assert precisions("default") != {HIGHEST}  # resizing is exact in any case


@pytest.mark.parametrize("stored", [True, False])
def test_a_segmenter_has_the_precision_of_its_configuration(stored, monkeypatch):
    """A configuration of an earlier version lacks the key. Results of another precision are other results."""
    config, used = tiny_synthetic(), []
    config.matmul_precision = "float32"
    if not stored:
        with config.unlocked():
            del config["matmul_precision"]
    expected = "float32" if stored else "default"

    def get_network(*arguments):
        used.append(arguments[-1])
        raise InterruptedError

    monkeypatch.setattr(segmenter_module, "get_network", get_network)
    segmenter = Segmenter.from_config(config, {})
    with pytest.raises(InterruptedError):
        segmenter(np.zeros((2, 48, 64, 3), np.uint8))
    assert used == [expected]
    assert describe_inference(config, {}, segmenter, None)["matmul_precision"] == expected


def test_an_explanation_has_the_precision_too(monkeypatch):
    asked = []

    def get_network(*arguments):
        asked.append(arguments[-1])
        raise InterruptedError

    monkeypatch.setattr("cosnet_jax.inference.attention_maps.get_network", get_network)
    with pytest.raises(InterruptedError):
        attention_maps(tiny_network(), {}, np.zeros((2, 48, 64, 3), np.uint8), SIZE, (0, 0), "float32")
    assert asked == ["float32"]
