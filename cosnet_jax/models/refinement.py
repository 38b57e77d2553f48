"""Brings features at output stride 16 back to stride 8, and details of stride 4 into them."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from cosnet_jax.models.batch_norm import BatchNorm
from cosnet_jax.models.layers import Conv, resize_bilinear, space_to_depth, upsample

Array = jax.Array


class Refinement(nn.Module):
    """Joins coarse features with low-level ones of higher resolution: the decoder of DeepLabv3+ (Chen et al., 2018).

    Attributes:
      channels: channels of the output.
      low_level: number of channels to reduce the low-level features to.
      aligned: whether coarse features stand where their convolution was centred (`upsample`), which masks of stride 4
        ask for, or are stretched to the size (`resize_bilinear`).
      separable: the 3x3 convolution is separable, see `Conv`.
      axis_name, dtype: as in `COSNet`.
    """

    channels: int
    low_level: int
    aligned: bool
    separable: bool = False
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, low_level: Array, train: bool) -> Array:
        """Maps (n, h', w', c) and low-level features (n, h, w, c') to (n, h, w, channels)."""
        low_level = Conv(self.low_level, dtype=self.dtype, name="reduce_conv")(low_level)
        low_level = BatchNorm(self.axis_name, relu=True, name="reduce_bn")(low_level, train)
        size = low_level.shape[1:3]
        x = upsample(x, -(-size[0] // x.shape[1]), size) if self.aligned else resize_bilinear(x, size)
        x = jnp.concatenate([x, low_level], axis=-1)
        x = Conv(self.channels, 3, separable=self.separable, dtype=self.dtype, name="join_conv")(x)
        return BatchNorm(self.axis_name, relu=True, name="join_bn")(x, train)


class Detail(nn.Module):
    """Adds to features of stride 8 what those of stride 4 say, four positions in one. It begins as the identity.

    Attributes:
      hidden: channels in between.
      axis_name, dtype: as in `COSNet`.
    """

    hidden: int
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, finest: Array, train: bool) -> Array:
        """Maps (n, h, w, c) and features of stride 4 (n, ~2h, ~2w, c') to (n, h, w, c)."""
        added = Conv(self.hidden, dtype=self.dtype, name="join_conv")(x, space_to_depth(finest, x.shape[1:3]))
        added = BatchNorm(self.axis_name, relu=True, name="join_bn")(added, train)
        return x + Conv(x.shape[-1], kernel_init=nn.initializers.zeros, dtype=self.dtype, name="add_conv")(added)
