"""The presets against the configurations of the same networks."""

from __future__ import annotations

import pytest

from configs import davis16, davis16_released
from cosnet_jax.config import flatten
from cosnet_jax.interop.presets import PRESETS


@pytest.mark.parametrize(
    ("preset", "configuration"),
    [("released", davis16_released), ("deeplab", davis16_released), ("torchvision", davis16)],
)
def test_a_preset_and_its_configuration_agree(preset, configuration):
    config, stored = flatten(configuration.get_config()), flatten(PRESETS[preset].to_config())
    assert stored == {key: config[key] for key in stored}
    for section in ("model.", "inference."):
        assert {key for key in stored if key.startswith(section)} == {key for key in config if key.startswith(section)}


def test_the_group_model_differs_in_its_fusion_only():
    released, group = (flatten(PRESETS[name].to_config()) for name in ("released", "group"))
    assert group == released | {"inference.fusion": "group"}
