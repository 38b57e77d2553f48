"""The section `inference`: what a configuration says, what replaces it, and what is refused."""

from __future__ import annotations

import pytest
from tiny_network import tiny_network

from configs import davis16_released
from cosnet_jax.errors import InputError
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.inference.segmenter import Segmenter


def test_settings_left_out_are_the_configurations():
    config = davis16_released.get_config()
    config.model.backbone = "mobilenet_v2"
    config.inference.temporal_smoothing = 0.5
    stored = InferenceConfig(5, "random", "prediction", temporal_smoothing=0.5, size=(473, 473), edge_radius=0)
    assert Segmenter.from_config(config, {}).config == stored
    changed = Segmenter.from_config(config, {}, num_references=0, fusion="group", seed=None, size=(257, 449)).config
    assert changed == InferenceConfig(0, "random", "group", temporal_smoothing=0.5, size=(257, 449), edge_radius=0)
    assert Segmenter(tiny_network(), {}, size=(33, 49), num_references=2).config.num_references == 2


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sampling", "global", "sampling is 'global'; expected uniform or random or consecutive"),
        ("num_references", -1, "num_references is -1; expected a whole number from 0 to 100"),
        ("size", (9, 99), "inference.size is 9; expected"),
    ],
)
def test_wrong_settings_are_named(name, value, message):
    with pytest.raises(InputError, match=message):
        InferenceConfig(**{name: value})
