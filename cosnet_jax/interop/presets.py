"""The architectures that PyTorch weights are converted to, and how each of them segments a video."""

from __future__ import annotations

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.models.build import ModelConfig

# What differs from the defaults of the sections, which are the paper's.
RELEASED_MODEL = {
    "coattention": "vanilla", "head": "released", "channels": 256, "stride_in_first": True, "ceil_mode": True,
    "gate_bias": False, "input_scaling": "bgr",
}  # fmt: skip
RELEASED_INFERENCE = {"sampling": "random", "fusion": "prediction", "edge_radius": 0}  # the release enlarges bilinearly


class Preset(NamedTuple):
    """A kind of PyTorch weights, and the network that they become.

    Attributes:
      format: name of its table of parameter names, a key of `names.FORMATS`.
      name: name of the configuration that trains this network, stored in the checkpoint.
      model, inference: what differs from the defaults of these sections.
    """

    format: str
    name: str
    model: dict[str, Any]
    inference: dict[str, Any]

    def to_config(self) -> ConfigDict:
        """Returns a new configuration with all settings that inference needs."""
        config = ConfigDict({"name": self.name, "seed": 0, "size": (473, 473)})
        config.model, config.inference = ModelConfig.defaults(), InferenceConfig.defaults()
        config.model.update(self.model)
        config.inference.update(self.inference)
        return config


PRESETS = {
    "released": Preset("released", "davis16_released", RELEASED_MODEL, RELEASED_INFERENCE),
    "group": Preset("released", "davis16_released", RELEASED_MODEL, RELEASED_INFERENCE | {"fusion": "group"}),
    "deeplab": Preset("deeplab", "davis16_released", RELEASED_MODEL, RELEASED_INFERENCE),
    "torchvision": Preset("torchvision", "davis16", {}, {}),
}
