"""Batch normalisation that keeps its input at the input's own precision for the gradient, and nothing else of its size.

JAX's own gradient keeps a float32 copy of the centred input, which takes twice the memory of a bfloat16 input. Here the
backward pass computes that copy again from the input.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

Array = jax.Array
STATISTICS = "batch_statistics"  # the name that rematerialisation keeps them under


class BatchNorm(nn.Module):
    """Batch normalisation with PyTorch's running statistics. It computes in float32 whatever the input's type.

    Training normalises by the biased variance of the batch. The running variance takes the unbiased one:
    `running <- 0.9 running + 0.1 batch`. With `axis_name` the statistics are those of the whole batch over that axis.

    Attributes:
      axis_name: the mapped axis over devices to share statistics over, or None.
      epsilon: added to the variance.
      momentum: weight of the new batch in the running statistics.
    """

    axis_name: str | None = None
    epsilon: float = 1e-5
    momentum: float = 0.1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Normalises each channel.

        Args:
          x: (n, h, w, c).
          train: normalise by the batch's statistics and update the running ones; otherwise use the running ones.

        Returns:
          (n, h, w, c) of the input's type.
        """
        channels = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        use_batch = train and not self.is_initializing()
        if use_batch:
            mean, var, count = batch_statistics(x, self.axis_name)
            keep = 1 - self.momentum
            running_mean.value = keep * running_mean.value + self.momentum * mean
            running_var.value = keep * running_var.value + self.momentum * var * (count / max(count - 1, 1))
        else:
            mean, var = running_mean.value, running_var.value
        return normalise(x, mean, lax.rsqrt(var + self.epsilon), scale, bias, use_batch, self.axis_name)


def batch_statistics(x: Array, axis_name: str | None) -> tuple[Array, Array, int]:
    """Mean and biased variance of each channel, and the number of values they are taken over.

    Args:
      x: (n, h, w, c).
      axis_name: the mapped axis whose devices each hold an equal part of the batch, or None.

    Returns:
      ((c,) float32, (c,) float32, count). They carry no gradient: `normalise` accounts for it.
    """
    x = lax.stop_gradient(x).astype(jnp.float32)
    count = x.size // x.shape[-1]
    mean = x.mean((0, 1, 2))
    if axis_name is not None:
        mean = lax.pmean(mean, axis_name)
        count = count * lax.axis_size(axis_name)
    var = jnp.square(x - mean).mean((0, 1, 2))
    if axis_name is not None:
        var = lax.pmean(var, axis_name)
    return checkpoint_name(mean, STATISTICS), checkpoint_name(var, STATISTICS), count


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def normalise(
    x: Array, mean: Array, inverse_std: Array, scale: Array, bias: Array, of_batch: bool, axis_name: str | None
) -> Array:
    """Computes `(x - mean) * inverse_std * scale + bias` in float32.

    Args:
      x: (n, h, w, c).
      mean, inverse_std: (c,) float32 statistics.
      scale, bias: (c,) float32 parameters.
      of_batch: the statistics are those of x itself (over `axis_name`), so the gradient of x runs through them too.
        The statistics get gradient zero in either case.
      axis_name: as in `batch_statistics`.

    Returns:
      (n, h, w, c) of x's type.
    """
    del of_batch, axis_name
    return ((x.astype(jnp.float32) - mean) * (scale * inverse_std) + bias).astype(x.dtype)


def _normalise_forward(x, mean, inverse_std, scale, bias, of_batch, axis_name):
    return normalise(x, mean, inverse_std, scale, bias, of_batch, axis_name), (x, mean, inverse_std, scale)


def _normalise_backward(of_batch: bool, axis_name: str | None, residuals, gradient: Array):
    x, mean, inverse_std, scale = residuals
    gradient = gradient.astype(jnp.float32)
    standardised = (x.astype(jnp.float32) - mean) * inverse_std
    to_bias, to_scale = gradient.sum((0, 1, 2)), (gradient * standardised).sum((0, 1, 2))
    to_x = gradient
    if of_batch:
        # The share of the statistics: means over the whole batch, hence over all devices.
        through_mean, through_std = (total / (x.size // x.shape[-1]) for total in (to_bias, to_scale))
        if axis_name is not None:
            through_mean, through_std = lax.pmean((through_mean, through_std), axis_name)
        to_x = gradient - through_mean - standardised * through_std
    to_x = (to_x * (scale * inverse_std)).astype(x.dtype)
    return to_x, jnp.zeros_like(mean), jnp.zeros_like(inverse_std), to_scale, to_bias


normalise.defvjp(_normalise_forward, _normalise_backward)
