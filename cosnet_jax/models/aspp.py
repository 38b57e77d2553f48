"""Atrous spatial pyramid pooling (Chen et al., 2017): the last part of the feature embedding module."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from cosnet_jax.models.batch_norm import BatchNorm
from cosnet_jax.models.layers import Conv

Array = jax.Array


class PReLU(nn.Module):
    """`max(0, x) + slope * min(0, x)` with one learned slope for all channels."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        slope = self.param("slope", nn.initializers.constant(0.25), (1,)).astype(x.dtype)
        return jnp.where(x >= 0, x, slope * x)


class ASPP(nn.Module):
    """Global pooling, a 1x1 and dilated 3x3 convolutions side by side, joined by one more convolution.

    Every convolution has a bias. Batch normalisation and ReLU follow it; after the last one PReLU (the release) or
    ReLU.

    Attributes:
      channels: channels of the output (C in the paper).
      depth: channels of each side-by-side branch.
      rates: dilations of the 3x3 convolutions.
      kernel_size: kernel size of the joining convolution.
      prelu: end with PReLU instead of ReLU.
      separable: 3x3 convolutions are separable, see `Conv`.
      axis_name, dtype: as in `COSNet`.
    """

    channels: int
    depth: int
    rates: tuple[int, ...] = (6, 12, 18)
    kernel_size: int = 3
    prelu: bool = True
    separable: bool = False
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps (n, h, w, c) to (n, h, w, channels)."""

        def branch(inputs: Array, name: str, **kwargs) -> Array:
            out = Conv(self.depth, use_bias=True, dtype=self.dtype, name=f"{name}_conv", **kwargs)(inputs)
            return BatchNorm(self.axis_name, relu=True, name=f"{name}_bn")(out, train)

        pooled = branch(x.mean((1, 2), keepdims=True), "pool")  # (n, 1, 1, depth)
        branches = [jnp.broadcast_to(pooled, (*x.shape[:3], self.depth)), branch(x, "point")]
        spatial = {"kernel_size": 3, "separable": self.separable}
        branches += [branch(x, f"rate{rate}", dilation=rate, **spatial) for rate in self.rates]
        x = jnp.concatenate(branches, axis=-1)
        x = Conv(self.channels, self.kernel_size, use_bias=True, dtype=self.dtype, name="join_conv")(x)
        x = BatchNorm(self.axis_name, name="join_bn")(x, train)
        return PReLU(name="prelu")(x) if self.prelu else nn.relu(x)
