"""The presets against the configurations of the same networks."""

from __future__ import annotations

import pytest
from ml_collections import ConfigDict

from configs import base, davis16, davis16_released
from cosnet_jax.config import flatten
from cosnet_jax.interop.names import FORMATS
from cosnet_jax.interop.presets import PRESETS
from cosnet_jax.models.build import build_model


@pytest.mark.parametrize(
    ("preset", "configuration"),
    [
        ("released", davis16_released),
        ("deeplab", davis16_released),
        ("torchvision", davis16),
    ],
)
def test_a_preset_and_the_configuration_of_its_name_agree(preset, configuration):
    config, stored = configuration.get_config(), PRESETS[preset].to_config()
    expected = {key: value for key, value in flatten(config).items() if key.partition(".")[0] in stored}
    assert flatten(stored) == expected


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_every_key_of_the_network_and_of_inference(preset):
    config, stored = base.get_config(), PRESETS[preset].to_config()
    for section in ("model", "inference"):
        assert flatten(stored[section]).keys() == flatten(config[section]).keys()
    build_model(stored.model)
    assert PRESETS[preset].format in FORMATS


def test_the_group_model_differs_in_its_fusion_only():
    released, group = (flatten(PRESETS[name].to_config()) for name in ("released", "group"))
    assert released["inference.fusion"] == "prediction" and released["inference.sampling"] == "random"
    assert group == released | {"inference.fusion": "group"}


def test_changing_a_configuration_does_not_change_its_preset():
    config = PRESETS["released"].to_config()
    config.model.backbone, config.inference.crf.iterations = "resnet50", 1
    again = PRESETS["released"].to_config()
    assert isinstance(again.inference.crf, ConfigDict)
    assert (again.model.backbone, again.inference.crf.iterations) == ("resnet101", 5)
