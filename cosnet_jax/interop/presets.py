"""The architectures that PyTorch weights are converted to, and how each of them segments a video.

`configs/base.py` explains every key. `configs/davis16_released.py` takes its model and inference settings from here.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cosnet_jax.inference.options import InferenceConfig

PAPER_MODEL = {
    "backbone": "resnet101",
    "coattention": "symmetric",
    "head": "paper",
    "channels": 512,
    "head_features": 256,
    "blocks": 17,
    "output_stride": 8,
    "stride_in_first": False,
    "ceil_mode": False,
    "aspp_depth": 512,
    "aspp_rates": (6, 12, 18),
    "aspp_kernel": 3,
    "prelu": True,
    "low_level": 0,
    "detail": 0,
    "gate_bias": True,
    "reference_pooling": 1,
    "input_scaling": "imagenet",
    "affinity_budget": 512.0,
    "remat": False,
    "dtype": "float32",
}
RELEASED_MODEL = PAPER_MODEL | {
    "coattention": "vanilla",
    "head": "released",
    "channels": 256,
    "stride_in_first": True,
    "ceil_mode": True,
    "gate_bias": False,
    "input_scaling": "bgr",
}
PAPER_INFERENCE = dataclasses.asdict(InferenceConfig())
RELEASED_INFERENCE = PAPER_INFERENCE | {"sampling": "random", "fusion": "prediction"}


class Preset(NamedTuple):
    """A kind of PyTorch weights, and the network that they become.

    Attributes:
      format: name of its table of parameter names, a key of `names.FORMATS`.
      name: name of the configuration that trains this network, stored in the checkpoint.
      model: the `model` section of the configuration.
      inference: the `inference` section of the configuration.
      size: (height, width) of the network's input.
      seed: seed of the initial values of parameters that the weights lack, and of random sampling.
    """

    format: str
    name: str
    model: dict[str, Any]
    inference: dict[str, Any]
    size: tuple[int, int] = (473, 473)
    seed: int = 0

    def to_config(self) -> ConfigDict:
        """Returns a new configuration with all settings that inference needs."""
        settings = {
            "name": self.name,
            "seed": self.seed,
            "size": self.size,
            "model": self.model,
            "inference": self.inference,
        }
        return ConfigDict(copy.deepcopy(settings))


PRESETS = {
    "released": Preset("released", "davis16_released", RELEASED_MODEL, RELEASED_INFERENCE),
    "group": Preset("released", "davis16_released", RELEASED_MODEL, RELEASED_INFERENCE | {"fusion": "group"}),
    "deeplab": Preset("deeplab", "davis16_released", RELEASED_MODEL, RELEASED_INFERENCE),
    "torchvision": Preset("torchvision", "davis16", PAPER_MODEL, PAPER_INFERENCE),
}
