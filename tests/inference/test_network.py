"""The precision that inference asks accelerators for; what the functions compute is tested with the segmenter."""

from __future__ import annotations

import jax
import numpy as np
from jaxprs import HIGHEST, product_precisions
from tiny_network import random_variables, tiny_network

from cosnet_jax.inference.network import Network
from cosnet_jax.inference.options import FUSIONS

SIZE = (32, 40)


def test_the_precision_reaches_every_product():
    model = tiny_network()
    variables = random_variables(model)

    def precisions(setting):
        network = Network(model, SIZE, 1, setting)

        def segment(variables):
            encoded = {index: next(network.encode(variables, [frame])) for index, frame in enumerate(frames)}
            references = np.array([[1, 2]])
            alone = network.predict(variables, encoded, [0], references[:, :0], "summary", 2)
            maps = [network.predict(variables, encoded, [0], references, fusion, 2) for fusion in FUSIONS]
            return alone, maps

        frames = np.zeros((3, *SIZE, 3), np.uint8)
        found = product_precisions(jax.make_jaxpr(segment)(variables).jaxpr)
        assert len(found) > 50
        return set(found)

    assert precisions("float32") == {HIGHEST}
    assert precisions("default") != {HIGHEST}
