"""Brings features at output stride 16 back to stride 8."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from cosnet_jax.models.batch_norm import BatchNorm
from cosnet_jax.models.layers import Conv, resize_bilinear

Array = jax.Array


class Refinement(nn.Module):
    """Joins coarse features with low-level ones of higher resolution: the decoder of DeepLabv3+ (Chen et al., 2018).

    Attributes:
      channels: channels of the output.
      low_level: number of channels to reduce the low-level features to.
      axis_name, dtype: as in `COSNet`.
    """

    channels: int
    low_level: int
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, low_level: Array, train: bool) -> Array:
        """Maps (n, h', w', c) and low-level features (n, h, w, c') to (n, h, w, channels)."""
        low_level = Conv(self.low_level, dtype=self.dtype, name="reduce_conv")(low_level)
        low_level = nn.relu(BatchNorm(self.axis_name, name="reduce_bn")(low_level, train))
        x = jnp.concatenate([resize_bilinear(x, low_level.shape[1:3]), low_level], axis=-1)
        x = Conv(self.channels, 3, dtype=self.dtype, name="join_conv")(x)
        return nn.relu(BatchNorm(self.axis_name, name="join_bn")(x, train))
