"""Batch normalisation with the ReLU and the residual addition that follow it, made for little memory traffic.

An accelerator spends most of a training step on moving activations. So the statistics take one pass over the input, and
the backward pass keeps the input at its own precision and nothing else of its size. JAX's own gradient would keep a
float32 copy of the centred input, and store the gradient behind the ReLU.
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
      relu: apply ReLU to the result.
      epsilon: added to the variance.
      momentum: weight of the new batch in the running statistics.
    """

    axis_name: str | None = None
    relu: bool = False
    epsilon: float = 1e-5
    momentum: float = 0.1

    @nn.compact
    def __call__(self, x: Array, train: bool, shortcut: Array | None = None) -> Array:
        """Normalises each channel.

        Args:
          x: (n, h, w, c).
          train: normalise by the batch's statistics and update the running ones; otherwise use the running ones.
          shortcut: (n, h, w, c) to add before the ReLU; it needs `relu`.

        Returns:
          (n, h, w, c) of the input's type.
        """
        channels = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        mean, var = running_mean.value, running_var.value
        use_batch = train and not self.is_initializing()
        if use_batch:
            mean, var, count = batch_statistics(x, running_mean.value, self.axis_name)
            keep = 1 - self.momentum
            running_mean.value = keep * running_mean.value + self.momentum * mean
            running_var.value = keep * running_var.value + self.momentum * var * (count / max(count - 1, 1))
        statistics = mean, lax.rsqrt(var + self.epsilon)
        return normalise(x, shortcut, *statistics, scale, bias, self.relu, use_batch, self.axis_name)


def batch_statistics(x: Array, about: Array, axis_name: str | None) -> tuple[Array, Array, int]:
    """Mean and biased variance of each channel, and the number of values they are taken over.

    Both come from the first two moments about a point, in one pass and one communication. The relative error of the
    variance is about 1e-7 times the squared distance of the point from the mean, in standard deviations.

    Args:
      x: (n, h, w, c).
      about: (c,) the point: the running mean.
      axis_name: the mapped axis whose devices each hold an equal part of the batch, or None.

    Returns:
      ((c,) float32, (c,) float32, count). They carry no gradient: `normalise` accounts for it.
    """
    x, about = lax.stop_gradient((x.astype(jnp.float32), about))
    count = x.size // x.shape[-1]
    moments = (x - about).mean((0, 1, 2)), jnp.square(x - about).mean((0, 1, 2))
    if axis_name is not None:
        moments = lax.pmean(jnp.stack(moments), axis_name)
        count = count * lax.axis_size(axis_name)
    first, second = moments
    mean, var = about + first, jnp.maximum(second - jnp.square(first), 0)
    return checkpoint_name(mean, STATISTICS), checkpoint_name(var, STATISTICS), count


@functools.partial(jax.custom_vjp, nondiff_argnums=(6, 7, 8))
def normalise(
    x: Array, shortcut: Array | None, mean: Array, inverse_std: Array, scale: Array, bias: Array,
    relu: bool, of_batch: bool, axis_name: str | None,
) -> Array:  # fmt: skip
    """Computes `(x - mean) * inverse_std * scale + bias`, plus the shortcut, and ReLU of it, in float32.

    Args:
      x: (n, h, w, c).
      shortcut: (n, h, w, c) to add, or None.
      mean, inverse_std: (c,) float32 statistics.
      scale, bias: (c,) float32 parameters.
      relu: apply ReLU in the end.
      of_batch: the statistics are those of x itself (over `axis_name`), so the gradient of x runs through them too.
        The statistics get gradient zero in either case.
      axis_name: as in `batch_statistics`.

    Returns:
      (n, h, w, c) of x's type.
    """
    del of_batch, axis_name
    out = ((x.astype(jnp.float32) - mean) * (scale * inverse_std) + bias).astype(x.dtype)
    out = out if shortcut is None else out + shortcut
    return nn.relu(out) if relu else out


def _forward(x, shortcut, mean, inverse_std, scale, bias, *settings):
    out = normalise(x, shortcut, mean, inverse_std, scale, bias, *settings)
    # The result tells where the ReLU cut a sum; the next layer keeps it in any case. Without a shortcut x tells it.
    return out, (x, None if shortcut is None else out, mean, inverse_std, scale, bias)


def _backward(relu: bool, of_batch: bool, axis_name: str | None, residuals, gradient: Array):
    # The barriers make each pass compute what it needs from x and the gradient, so that none of it is stored.
    x, out, *channelwise = lax.optimization_barrier(residuals)
    to_shortcut = None if out is None else jnp.where(out > 0, gradient, 0)

    def masked_and_centred(mean, factor, bias):
        """The gradient behind the ReLU, and the centred input, in float32."""
        centred = x.astype(jnp.float32) - mean
        if to_shortcut is not None:
            return to_shortcut.astype(jnp.float32), centred
        masked = jnp.where(centred * factor + bias > 0, gradient, 0) if relu else gradient
        return masked.astype(jnp.float32), centred

    mean, inverse_std, scale, bias = channelwise
    factor = scale * inverse_std
    masked, centred = masked_and_centred(mean, factor, bias)
    totals = masked.sum((0, 1, 2)), (masked * centred).sum((0, 1, 2))
    to_bias, to_scale = totals[0], totals[1] * inverse_std
    totals, mean, factor, bias = lax.optimization_barrier((jnp.stack([to_bias, to_scale]), mean, factor, bias))
    to_x, centred = masked_and_centred(mean, factor, bias)
    if of_batch:
        # The share of the statistics: means over the whole batch, hence over all devices.
        means = totals / (x.size // x.shape[-1])
        through_mean, through_std = means if axis_name is None else lax.pmean(means, axis_name)
        to_x = to_x - through_mean - centred * (through_std * inverse_std)
    to_x = (to_x * factor).astype(x.dtype)
    return to_x, to_shortcut, jnp.zeros_like(mean), jnp.zeros_like(inverse_std), to_scale, to_bias


normalise.defvjp(_forward, _backward)
