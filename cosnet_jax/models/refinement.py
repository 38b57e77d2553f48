"""Brings features at output stride 16 back to stride 8, with the detail of stride 4 in their channels."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from cosnet_jax.models.batch_norm import BatchNorm
from cosnet_jax.models.layers import Conv, resize_bilinear, space_to_depth

Array = jax.Array


class Refinement(nn.Module):
    """Joins coarse features with low-level ones of higher resolution: the decoder of DeepLabv3+ (Chen et al., 2018).

    Attributes:
      channels: channels of the output.
      low_level: number of channels to reduce the low-level features to.
      detail: number of channels to reduce the finest features to; 0: they are not used.
      axis_name, dtype: as in `COSNet`.
    """

    channels: int
    low_level: int
    detail: int = 0
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, low_level: Array, finest: Array, train: bool) -> Array:
        """Joins features of three resolutions.

        Args:
          x: (n, h', w', c).
          low_level: (n, h, w, c').
          finest: (n, at most 2h, at most 2w, c").
          train: as in `COSNet.encode`.

        Returns:
          (n, h, w, channels).
        """
        size = low_level.shape[1:3]
        low_level = Conv(self.low_level, dtype=self.dtype, name="reduce_conv")(low_level)
        low_level = nn.relu(BatchNorm(self.axis_name, name="reduce_bn")(low_level, train))
        parts = [resize_bilinear(x, size), low_level]
        if self.detail:
            finest = Conv(self.detail, dtype=self.dtype, name="detail_conv")(finest)
            finest = nn.relu(BatchNorm(self.axis_name, name="detail_bn")(finest, train))
            parts.append(space_to_depth(finest, size))
        x = Conv(self.channels, 3, dtype=self.dtype, name="join_conv")(jnp.concatenate(parts, axis=-1))
        return nn.relu(BatchNorm(self.axis_name, name="join_bn")(x, train))
