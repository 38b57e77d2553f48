"""The settings of the network, and the network that they describe with its initial parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cosnet_jax.errors import InputError
from cosnet_jax.models import mobilenet, resnet
from cosnet_jax.models.coattention import VARIANTS
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.models.heads import CONVOLUTIONS
from cosnet_jax.models.scaling import SCHEMES
from cosnet_jax.section import Section, setting


def _resnet(config: ModelConfig, dtype: jnp.dtype, axis_name: str | None) -> nn.Module:
    depths = resnet.DEPTHS[config.backbone]
    return resnet.ResNet(depths, config.stride_in_first, config.ceil_mode, config.remat, axis_name, dtype)


def _mobilenet(config: ModelConfig, dtype: jnp.dtype, axis_name: str | None) -> nn.Module:
    del axis_name  # it has no batch normalisation
    return mobilenet.MobileNetV2(config.blocks, config.output_stride, config.remat, dtype)


# Name -> what makes the backbone of a configuration; a new backbone is added here.
BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "resnet101": _resnet,
    "resnet50": _resnet,
    "mobilenet_v2": _mobilenet,
}


@dataclass(frozen=True)
class ModelConfig(Section, name="model"):
    """The network. `COSNet`, `ResNet`, `MobileNetV2` and `ASPP` say more of each setting."""

    backbone: str = setting("resnet101", choices=tuple(BACKBONES))
    coattention: str = setting("symmetric", choices=(*VARIANTS, "none"))
    head: str = setting("paper", choices=tuple(CONVOLUTIONS))  # paper: two 3x3 convolutions | released: one, per branch
    channels: int = setting(512, low=1, high=4096)  # C, of the features
    head_features: int = setting(256, low=1, high=4096)
    blocks: int = setting(mobilenet.BLOCKS, low=1, high=mobilenet.BLOCKS)  # of mobilenet_v2 that are kept
    output_stride: int = setting(8, choices=(8, 16))  # of mobilenet_v2
    stride_in_first: bool = False  # bottleneck stride in the first 1x1 (release) or the 3x3 (torchvision)
    ceil_mode: bool = False  # of the ResNet's max pooling; the release has True
    aspp_depth: int = setting(512, low=1, high=4096)
    aspp_rates: tuple[int, ...] = setting((6, 12, 18), low=1, high=512)
    aspp_kernel: int = setting(3, low=1, high=9)  # of the convolution that joins the ASPP's branches
    prelu: bool = True  # after the ASPP; False: ReLU. Chosen, as the release has it
    low_level: int = setting(0, low=0, high=4096)  # channels of stride-8 features that refine the ASPP's; 0: none
    detail: int = setting(0, low=0, high=4096)  # channels of the layer for masks of stride 4; 0: none
    separable: bool = False  # 3x3 convolutions behind the backbone: depthwise, then 1x1
    gate_bias: bool = True  # b_f of Eq. 8
    reference_pooling: int = setting(1, low=1, high=64)  # average-pool references before co-attention; 1: off
    input_scaling: str = setting("imagenet", choices=SCHEMES)
    affinity_budget: float = setting(512.0, low=0, high=2**17)  # MiB; a larger affinity is computed in blocks
    dtype: str = setting("float32", choices=("float32", "bfloat16"))  # of the computation; parameters are float32
    remat: bool = False  # compute the encoder's activations again for the gradient: less memory, more time

    def __post_init__(self):
        super().__post_init__()
        least = mobilenet.LEAST_BLOCKS[self.output_stride]
        if self.backbone != "mobilenet_v2" and self.output_stride != 8:
            raise InputError(f"model.output_stride is {self.output_stride}; expected 8 with {self.backbone}")
        if self.backbone == "mobilenet_v2" and self.blocks < least:
            raise InputError(f"model.blocks is {self.blocks}; expected at least {least} at this output stride")
        if self.detail and self.output_stride != 8 and not self.low_level:
            raise InputError("model.detail refines features of stride 8; expected model.low_level above 0")


def build_model(config: Mapping[str, Any] | ModelConfig, axis_name: str | None = None) -> COSNet:
    """Builds the network of a configuration.

    Args:
      config: `config.model`.
      axis_name: as in `COSNet`; for training on several devices.

    Returns:
      The network.

    Raises:
      InputError: for a key that the network does not have, or a value that it cannot have.
    """
    config = ModelConfig.read(config)
    dtype = jnp.dtype(config.dtype)
    return COSNet(
        backbone=BACKBONES[config.backbone](config, dtype, axis_name), axis_name=axis_name, dtype=dtype,
        coattention=config.coattention, head=config.head, channels=config.channels,
        head_features=config.head_features, aspp_depth=config.aspp_depth, aspp_rates=config.aspp_rates,
        aspp_kernel=config.aspp_kernel, prelu=config.prelu, low_level=config.low_level, detail=config.detail,
        separable=config.separable, gate_bias=config.gate_bias, reference_pooling=config.reference_pooling,
        remat=config.remat, input_scaling=config.input_scaling, affinity_budget=config.affinity_budget,
    )  # fmt: skip


def init_variables(model: COSNet, seed: int) -> dict[str, Any]:
    """Initial parameters and statistics, a pure function of the seed.

    Args:
      model: the network.
      seed: seed of the initialisers.

    Returns:
      {"params": ..., "batch_stats": ...}.
    """
    # No parameter's shape depends on the image's size, and nothing of that size is computed. In small images some
    # convolutions are written as more operations, which take longer to trace.
    pair = jax.ShapeDtypeStruct((1, 2, 512, 512, 3), jnp.uint8)
    # This runs the initialisers alone, as one program. XLA's own generator compiles several times faster than threefry.
    variables = jax.jit(lambda key: model.lazy_init(key, pair))(jax.random.key(seed, impl="rbg"))
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
