"""MobileNetV2 (Sandler et al., 2018) and EfficientNet-Lite0 at output stride 8 or 16.

Both are inverted residuals with ReLU6; EfficientNet-Lite is EfficientNet (Tan and Le, 2019) without squeeze-and-
excitation and swish. Batch norm is folded into kernels and biases.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from cosnet_jax.models.layers import Conv
from cosnet_jax.models.rematerialisation import rematerialise

Array = jax.Array
# (expansion, channels, blocks, stride, kernel size) of each stage: Table 2 of MobileNetV2's paper, Table 1 of
# EfficientNet's.
STAGES = {
    "mobilenet_v2": (
        (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 32, 3, 2, 3), (6, 64, 4, 2, 3), (6, 96, 3, 1, 3), (6, 160, 3, 2, 3),
        (6, 320, 1, 1, 3),
    ),
    "efficientnet_lite0": (
        (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    ),
}  # fmt: skip
BLOCKS = {name: sum(stage[2] for stage in stages) for name, stages in STAGES.items()}
OUTPUT_STRIDES = (8, 16)


def least_blocks(variant: str, output_stride: int) -> int:
    """Returns the number of inverted residuals up to the first one at the output stride, 8 or 16."""
    stride, blocks = 2, 0
    for _, _, repeats, stage_stride, _ in STAGES[variant]:
        stride *= stage_stride
        if stride == output_stride:
            break
        blocks += repeats
    return blocks + 1


class InvertedResidual(nn.Module):
    """1x1 expansion -> depthwise convolution -> 1x1 projection, added to its input where the shapes agree.

    Attributes:
      expansion: factor by which the channels grow inside the block; 1 leaves the expansion out.
      channels: channels of the output.
      stride, dilation, kernel_size: of the depthwise convolution.
      dtype: as in `COSNet`.
    """

    expansion: int
    channels: int
    stride: int
    dilation: int
    kernel_size: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        inputs, inner = x, x.shape[-1] * self.expansion
        if self.expansion > 1:
            x = nn.relu6(Conv(inner, use_bias=True, dtype=self.dtype, name="expand")(x))
        each_channel = {"depthwise": True, "use_bias": True, "dtype": self.dtype, "name": "depthwise"}
        x = Conv(inner, self.kernel_size, self.stride, self.dilation, "SAME", **each_channel)(x)
        x = nn.relu6(x)
        x = Conv(self.channels, use_bias=True, dtype=self.dtype, name="project")(x)
        return x + inputs if inputs.shape == x.shape else x


class MobileNet(nn.Module):
    """The convolution blocks of MobileNetV2 or EfficientNet-Lite0, without the 1280-channel head and the classifier.

    A stride that would exceed the output stride is replaced by a dilation of the blocks after it. ImageNet weights stay
    valid.

    Attributes:
      variant: a key of `STAGES`.
      blocks: number of inverted residuals to keep, from `least_blocks` to `BLOCKS`.
      output_stride: pixels of the image between neighbouring features, 8 or 16.
      remat: the backward pass computes each block again from its input instead of keeping its activations.
      dtype: as in `COSNet`.
    """

    variant: str
    blocks: int
    output_stride: int = 8
    remat: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array, Array]:
        """Maps images in [-1, 1] (n, h, w, 3) to features.

        Args:
          x: the images.
          train: ignored; there is no batch normalisation.

        Returns:
          The last block's features (n, ceil(h/s), ceil(w/s), c) at output stride s, where c = 320 with all blocks;
          the last features at stride 8, (n, ceil(h/8), ceil(w/8), 32 or 40) for output stride 16, the same array
          for 8; and the last at stride 4, (n, ceil(h/4), ceil(w/4), 24).
        """
        del train
        x = Conv(32, 3, 2, 1, "SAME", use_bias=True, dtype=self.dtype, name="stem")(x)
        x = nn.relu6(x)
        self.sow("intermediates", "stem", x)
        residual = rematerialise(InvertedResidual) if self.remat else InvertedResidual
        index, reduced, dilation = 0, 2, 1
        last = {}  # the last features at each stride
        for expansion, channels, repeats, stage_stride, kernel_size in STAGES[self.variant]:
            for block in range(min(repeats, self.blocks - index)):
                stride = stage_stride if block == 0 else 1
                dilate = reduced * stride > self.output_stride
                x = residual(
                    expansion, channels, 1 if dilate else stride, dilation, kernel_size, self.dtype,
                    name=f"block{index}",
                )(x)  # fmt: skip
                index += 1
                if dilate:
                    dilation *= stride
                else:
                    reduced *= stride
                last[reduced] = x
        self.sow("intermediates", f"block{index - 1}", x)
        return x, last[8], last[4]
