"""MobileNetV2 (Sandler et al., CVPR 2018) at output stride 8 or 16, its batch norm folded into kernels and biases."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from cosnet_jax.models.layers import Conv
from cosnet_jax.models.rematerialisation import rematerialise

Array = jax.Array
# (expansion, channels, blocks, stride) of each stage: Table 2 of the paper.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
BLOCKS = sum(blocks for _, _, blocks, _ in STAGES)
LEAST_BLOCKS = {8: 4, 16: 7}  # by output stride: up to the first block at that stride


class InvertedResidual(nn.Module):
    """1x1 expansion -> 3x3 depthwise convolution -> 1x1 projection, added to its input where the shapes agree.

    Attributes:
      expansion: factor by which the channels grow inside the block; 1 leaves the expansion out.
      channels: channels of the output.
      stride, dilation: of the depthwise convolution.
      dtype: as in `COSNet`.
    """

    expansion: int
    channels: int
    stride: int
    dilation: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        inputs, inner = x, x.shape[-1] * self.expansion
        if self.expansion > 1:
            x = nn.relu6(Conv(inner, use_bias=True, dtype=self.dtype, name="expand")(x))
        each_channel = {"depthwise": True, "use_bias": True, "dtype": self.dtype, "name": "depthwise"}
        x = nn.relu6(Conv(inner, 3, self.stride, self.dilation, "SAME", **each_channel)(x))
        x = Conv(self.channels, use_bias=True, dtype=self.dtype, name="project")(x)
        return x + inputs if inputs.shape == x.shape else x


class MobileNetV2(nn.Module):
    """The convolution blocks of MobileNetV2, without the 1280-channel head and the classifier.

    A stride that would exceed the output stride is replaced by a dilation of the blocks after it. ImageNet weights stay
    valid.

    Attributes:
      blocks: number of inverted residuals to keep, from `LEAST_BLOCKS` to `BLOCKS`.
      output_stride: pixels of the image between neighbouring features, 8 or 16.
      remat: the backward pass computes each block again from its input instead of keeping its activations.
      dtype: as in `COSNet`.
    """

    blocks: int = BLOCKS
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
          the last features at stride 8, (n, ceil(h/8), ceil(w/8), 32) for output stride 16, the same array for 8; and
          the last at stride 4, (n, ceil(h/4), ceil(w/4), 24).
        """
        del train
        x = nn.relu6(Conv(32, 3, 2, 1, "SAME", use_bias=True, dtype=self.dtype, name="stem")(x))
        residual = rematerialise(InvertedResidual) if self.remat else InvertedResidual
        index, reduced, dilation = 0, 2, 1
        last = {}  # the last features at each stride
        for expansion, channels, repeats, stage_stride in STAGES:
            for block in range(min(repeats, self.blocks - index)):
                stride = stage_stride if block == 0 else 1
                dilate = reduced * stride > self.output_stride
                x = residual(
                    expansion, channels, 1 if dilate else stride, dilation, self.dtype, name=f"block{index}"
                )(x)  # fmt: skip
                index += 1
                if dilate:
                    dilation *= stride
                else:
                    reduced *= stride
                last[reduced] = x
        return x, last[8], last[4]
