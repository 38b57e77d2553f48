"""Builds the network of a configuration, and its initial parameters."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cosnet_jax.errors import InputError
from cosnet_jax.models.coattention import VARIANTS
from cosnet_jax.models.cosnet import BACKBONES, COSNet
from cosnet_jax.models.heads import CONVOLUTIONS
from cosnet_jax.models.mobilenet import BLOCKS, OUTPUT_STRIDES, least_blocks
from cosnet_jax.models.scaling import SCHEMES

CHOICES = {
    "backbone": BACKBONES,
    "coattention": (*VARIANTS, "none"),
    "head": tuple(CONVOLUTIONS),
    "output_stride": OUTPUT_STRIDES,
    "input_scaling": SCHEMES,
    "dtype": ("float32", "bfloat16"),
}


def build_model(config: ConfigDict, axis_name: str | None = None, head_dropout: float = 0.0) -> COSNet:
    """Builds the network of a configuration.

    Args:
      config: `config.model`. Keys that checkpoints of older versions lack get their default.
      axis_name: as in `COSNet`; for training on several devices.
      head_dropout: as in `COSNet`; for training.

    Returns:
      The network.

    Raises:
      InputError: for a key that the network does not have, or a value that it cannot have.
    """
    for key, known in CHOICES.items():
        if key in config and config[key] not in known:
            raise InputError(f"model.{key} is {config[key]!r}; expected one of {', '.join(map(str, known))}")
    if config.get("output_stride", 8) != 8 and config.backbone not in BLOCKS:
        raise InputError(f"model.output_stride is {config.output_stride}; expected 8 with {config.backbone}")
    if config.backbone in BLOCKS:
        most, least = BLOCKS[config.backbone], least_blocks(config.backbone, config.get("output_stride", 8))
        if not least <= config.get("blocks", most) <= most:
            raise InputError(f"model.blocks is {config.blocks}; expected {least} to {most} at this output stride")
    if config.get("detail", 0) and config.get("output_stride", 8) != 8 and not config.get("low_level", 0):
        raise InputError("model.detail refines features of stride 8; expected model.low_level above 0")
    if config.get("reference_pooling", 1) < 1:
        raise InputError(f"model.reference_pooling is {config.reference_pooling}; expected at least 1")
    settings = dict(config.items())
    settings["dtype"] = jnp.dtype(settings["dtype"])
    settings["aspp_rates"] = tuple(settings["aspp_rates"])
    try:
        return COSNet(axis_name=axis_name, head_dropout=head_dropout, **settings)
    except TypeError as error:
        raise InputError(f"config.model does not fit the network: {error}") from None


def init_variables(model: COSNet, seed: int) -> dict[str, Any]:
    """Initial parameters and statistics, a pure function of the seed.

    Args:
      model: the network.
      seed: seed of the initialisers.

    Returns:
      {"params": ..., "batch_stats": ...}.
    """
    # No parameter's shape depends on the image's size, and nothing of that size is computed. In small images some
    # convolutions are written as more operations, see `wide_conv`, which take longer to trace.
    pair = jax.ShapeDtypeStruct((1, 2, 512, 512, 3), jnp.uint8)
    # This runs the initialisers alone, as one program. XLA's own generator compiles several times faster than threefry.
    variables = jax.jit(lambda key: model.lazy_init(key, pair))(jax.random.key(seed, impl="rbg"))
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
