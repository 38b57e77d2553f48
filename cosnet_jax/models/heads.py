"""The segmentation module: from co-attention enhanced features to the logits of the primary object."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from cosnet_jax.models.batch_norm import BatchNorm
from cosnet_jax.models.layers import Conv

Array = jax.Array
CONVOLUTIONS = {"paper": 2, "released": 1}


class SegmentationHead(nn.Module):
    """3x3 convolutions with batch normalisation and ReLU, then a 1x1 convolution to one logit (paper, section 3.3).

    Attributes:
      convolutions: number of 3x3 convolutions: two in the paper, one in the release.
      features: channels of these convolutions.
      separable: they are separable, see `Conv`.
      axis_name, dtype: as in `COSNet`.
    """

    convolutions: int
    features: int = 256
    separable: bool = False
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, summary: Array, features: Array, train: bool) -> Array:
        """Maps X = [Z, V], given as its parts, to logits (n, h, w, 1).

        Args:
          summary: Z (n, h, w, c).
          features: V (n, h, w, c); or (n / m, h, w, c), each for m summaries in a row.
          train: as in `COSNet.encode`.
        """
        inputs = [summary, features]
        for index in range(1, self.convolutions + 1):
            x = Conv(self.features, 3, separable=self.separable, dtype=self.dtype, name=f"conv{index}")(*inputs)
            x = BatchNorm(self.axis_name, relu=True, name=f"bn{index}")(x, train)
            inputs = [x]
        return Conv(1, use_bias=True, dtype=self.dtype, name="classifier")(x)
