"""ResNet-50 and ResNet-101 at output stride 8 (He et al., 2016; dilated as in DeepLabv3, Chen et al., 2017)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from cosnet_jax.models.batch_norm import BatchNorm
from cosnet_jax.models.layers import Conv, max_pool
from cosnet_jax.models.rematerialisation import rematerialise

Array = jax.Array
DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


class Bottleneck(nn.Module):
    """1x1 -> 3x3 -> 1x1 convolutions, added to a shortcut. A 1x1 convolution projects the shortcut on request.

    Attributes:
      width: channels of the two inner convolutions; the output has four times as many.
      stride: stride of the block.
      dilation: dilation of the 3x3 convolution.
      stride_in_first: put the stride in the first 1x1 convolution (the release) instead of the 3x3 one (torchvision).
      project: put a 1x1 convolution on the shortcut, as a stage's first block needs.
      axis_name, dtype: as in `COSNet`.
    """

    width: int
    stride: int
    dilation: int
    stride_in_first: bool
    project: bool
    axis_name: str | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        first, second = (self.stride, 1) if self.stride_in_first else (1, self.stride)
        shortcut = x
        if self.project:
            shortcut = Conv(4 * self.width, stride=self.stride, dtype=self.dtype, name="downsample_conv")(x)
            shortcut = BatchNorm(self.axis_name, name="downsample_bn")(shortcut, train)
        x = Conv(self.width, stride=first, dtype=self.dtype, name="conv1")(x)
        x = BatchNorm(self.axis_name, relu=True, name="bn1")(x, train)
        x = Conv(self.width, 3, second, self.dilation, dtype=self.dtype, name="conv2")(x)
        x = BatchNorm(self.axis_name, relu=True, name="bn2")(x, train)
        x = Conv(4 * self.width, dtype=self.dtype, name="conv3")(x)
        return BatchNorm(self.axis_name, relu=True, name="bn3")(x, train, shortcut)


class ResNet(nn.Module):
    """The first five convolution blocks of a ResNet, without its classifier.

    Attributes:
      depths: number of bottlenecks of layers 1-4.
      stride_in_first: see `Bottleneck`. It also decides the dilation of the first block of layers 3 and 4: with True
        it is the layer's (the release), with False the previous layer's (torchvision).
      ceil_mode: whether the max pooling after the stem keeps a last, partial window.
      remat: the backward pass computes each bottleneck again from its input instead of keeping its activations.
      axis_name, dtype: as in `COSNet`.
    """

    depths: tuple[int, int, int, int]
    stride_in_first: bool = False
    ceil_mode: bool = False
    remat: bool = False
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array, Array]:
        """Maps scaled images (n, h, w, 3) to the features of layers 4, 2 and 1.

        Args:
          x: the images.
          train: as in `COSNet.encode`.

        Returns:
          (n, ~h/8, ~w/8, 2048), (n, ~h/8, ~w/8, 512), (n, ~h/4, ~w/4, 256).
        """
        x = Conv(64, 7, 2, padding=3, dtype=self.dtype, name="conv1")(x)
        x = BatchNorm(self.axis_name, relu=True, name="bn1")(x, train)
        x = max_pool(x, self.ceil_mode)
        bottleneck = rematerialise(Bottleneck, train=2) if self.remat else Bottleneck
        previous = 1
        outputs = []
        layers = zip((64, 128, 256, 512), self.depths, (1, 2, 1, 1), (1, 1, 2, 4), strict=True)
        for layer, (width, depth, stride, dilation) in enumerate(layers, 1):
            for block in range(depth):
                first = block == 0
                x = bottleneck(
                    width,
                    stride=stride if first else 1,
                    dilation=previous if first and not self.stride_in_first else dilation,
                    stride_in_first=self.stride_in_first,
                    project=first,
                    axis_name=self.axis_name,
                    dtype=self.dtype,
                    name=f"layer{layer}_{block}",
                )(x, train)
            previous = dilation
            outputs.append(x)
        return x, outputs[1], outputs[0]
