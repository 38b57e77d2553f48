"""The layers that all parts of the network share: convolution, pooling, resizing.

Convolutions are written in the form that XLA runs fastest. A 1x1 convolution is an einsum. A depthwise one is a sum of
shifted products, which is 7-10 times faster than XLA's grouped convolution on CPUs. Others have a form of their own for
CPUs, see `cpu_conv.py`. The tests compare all of them with `lax.conv_general_dilated`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cosnet_jax.models.cpu_conv import Pads, conv, is_wide, windows

Array = jax.Array
Padding = int | str  # pixels on every side (PyTorch), or "SAME" (TensorFlow: an odd pixel goes right and below)


def explicit_padding(size: Sequence[int], kernel: int, stride: int, dilation: int, padding: Padding) -> Pads:
    """Returns the pixels to add before and after each spatial axis.

    Args:
      size: (h, w) of the input.
      kernel, stride, dilation: the convolution's, the same for both axes.
      padding: pixels on every side, or "SAME".

    Returns:
      ((top, bottom), (left, right)).
    """
    if isinstance(padding, int):
        return ((padding, padding), (padding, padding))
    reach = (kernel - 1) * dilation + 1
    totals = [max((-(-length // stride) - 1) * stride + reach - length, 0) for length in size]
    (top, bottom), (left, right) = ((total // 2, total - total // 2) for total in totals)
    return ((top, bottom), (left, right))


def depthwise_conv(x: Array, kernel: Array, stride: int, dilation: int, padding: Padding) -> Array:
    """Convolves each channel with its own filter.

    Args:
      x: (n, h, w, c).
      kernel: (k, k, 1, c).
      stride, dilation, padding: as in `Conv`.

    Returns:
      (n, h', w', c).
    """
    pads = explicit_padding(x.shape[1:3], kernel.shape[0], stride, dilation, padding)
    return _depthwise(jnp.pad(x, ((0, 0), *pads, (0, 0))), kernel, stride, dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    """Sums shifted products. Its gradient is written by hand: on CPUs XLA's own takes several times as long."""
    rows = zip(windows(x, kernel.shape[:2], stride, dilation), kernel, strict=True)
    products = (
        window * weight[0] for windows, weights in rows for window, weight in zip(windows, weights, strict=True)
    )
    return jnp.asarray(sum(products))  # not the 0 of no products, for the types


def _depthwise_forward(x: Array, kernel: Array, stride: int, dilation: int):
    return _depthwise(x, kernel, stride, dilation), (x, kernel)


def _depthwise_backward(stride: int, dilation: int, residuals, gradient: Array):
    x, kernel = residuals
    size = kernel.shape[0]
    reach = (size - 1) * dilation
    # To the input: the gradient, with zeros between for the stride, convolved with the flipped filter.
    unused = [x.shape[axis] - reach - 1 - (gradient.shape[axis] - 1) * stride for axis in (1, 2)]
    borders = [(0, 0, 0), *((reach, reach + rest, stride - 1) for rest in unused), (0, 0, 0)]
    spread = lax.pad(gradient, jnp.zeros((), gradient.dtype), borders)
    to_x = _depthwise(spread, kernel[::-1, ::-1], 1, dilation)

    # To the filter: products of the gradient with each weight's inputs, row by row so that the sums stay in the cache.
    def add(totals, row):
        gradient_row = lax.dynamic_index_in_dim(gradient, row, 1)
        rows = [lax.dynamic_index_in_dim(x, row * stride + offset, 1) for offset in range(0, size * dilation, dilation)]
        inputs = [window for row in rows for window in windows(row, (1, size), stride, dilation)[0]]
        return [total + window * gradient_row for total, window in zip(totals, inputs, strict=True)], None

    zeros = [jnp.zeros_like(gradient[:, :1])] * size**2
    totals, _ = lax.scan(add, zeros, jnp.arange(gradient.shape[1]))
    to_kernel = jnp.stack([total.sum((0, 1, 2)) for total in totals]).reshape(kernel.shape)
    return to_x, to_kernel


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


class Conv(nn.Module):
    """A 2-D convolution over (n, h, w, c); parameters `kernel` (k, k, c_in, c_out) and, if asked for, `bias` (c_out,).

    Several inputs give the convolution of their concatenated channels. An input with an m times smaller batch is
    convolved once, and each of its examples is used for m examples in a row of the others.

    Attributes:
      features: output channels; for a depthwise convolution the input's number.
      kernel_size: k, the same for both axes.
      stride, dilation: the same for both axes.
      padding: pixels on every side, or "SAME"; None keeps the size of a stride-1 convolution (dilation * (k - 1) / 2).
      depthwise: one filter a channel; the kernel is (k, k, 1, c).
      separable: one filter a channel, (k, k, 1, c_in) in the parameter `filter`, then the kernel as a 1x1 convolution
        (Chollet, CVPR 2017).
      use_bias: add a bias.
      kernel_init: initialiser of the kernel.
      dtype: type of the computation; parameters are float32.
    """

    features: int
    kernel_size: int = 1
    stride: int = 1
    dilation: int = 1
    padding: Padding | None = None
    depthwise: bool = False
    separable: bool = False
    use_bias: bool = False
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, *inputs: Array) -> Array:
        size, channels = self.kernel_size, [x.shape[-1] for x in inputs]
        borders = np.cumsum(channels[:-1])
        outs = [x.astype(self.dtype) for x in inputs]
        if self.separable:
            filters = self.param("filter", self.kernel_init, (size, size, 1, sum(channels))).astype(self.dtype)
            outs = [self._convolve(x, part, True) for x, part in zip(outs, jnp.split(filters, borders, 3), strict=True)]
            size = 1
        shape = (size, size, 1 if self.depthwise else sum(channels), self.features)
        kernels = jnp.split(self.param("kernel", self.kernel_init, shape).astype(self.dtype), borders, 2)
        outs = [self._convolve(x, part, self.depthwise) for x, part in zip(outs, kernels, strict=True)]
        batch = max(len(out) for out in outs)
        x = functools.reduce(jnp.add, (jnp.repeat(out, batch // len(out), axis=0) for out in outs))
        if self.use_bias:
            x = x + self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return x

    def _convolve(self, x: Array, kernel: Array, depthwise: bool) -> Array:
        size = len(kernel)
        padding = self.dilation * (size - 1) // 2 if self.padding is None else self.padding
        if depthwise:
            return depthwise_conv(x, kernel, self.stride, self.dilation, padding)
        if size == 1:
            return jnp.einsum("nhwc,cd->nhwd", x[:, :: self.stride, :: self.stride], kernel[0, 0])
        pads = explicit_padding(x.shape[1:3], size, self.stride, self.dilation, padding)
        same = self.padding is None and self.stride == 1 and size % 2 == 1
        return conv(x, kernel, self.stride, self.dilation, pads, same and is_wide(x.shape[1:3], size, self.dilation))


def max_pool(x: Array, ceil_mode: bool) -> Array:
    """3x3 max pooling with stride 2 and a border of one, as after ResNet's stem.

    Args:
      x: (n, h, w, c).
      ceil_mode: keep a last window that only partly covers the input (PyTorch's `ceil_mode=True`).

    Returns:
      (n, h', w', c) with h' = floor((h - 1) / 2) + 1, or ceil((h - 1) / 2) + 1 in ceil mode.
    """
    after = [1 + (1 if ceil_mode and length % 2 == 0 else 0) for length in x.shape[1:3]]
    padding = ((0, 0), (1, after[0]), (1, after[1]), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding)


def resize_bilinear(x: Array, size: Sequence[int]) -> Array:
    """Resizes (n, h, w, ...) to (n, *size, ...) bilinearly, with half-pixel centres and no antialiasing."""
    return jax.image.resize(x, (x.shape[0], *size, *x.shape[3:]), "bilinear", antialias=False)


def upsample(x: Array, stride: int, size: Sequence[int]) -> Array:
    """Puts position i of a map at pixel stride * i of another, and interpolates bilinearly between them.

    So it undoes a strided convolution with "SAME" padding, which takes an image of stride * k + 1 pixels to k + 1
    positions; there it is PyTorch's `interpolate` with `align_corners`.

    Args:
      x: (n, h, w, c).
      stride: pixels between neighbouring positions.
      size: of the result, at most (stride * (h + 1), stride * (w + 1)); pixels beyond the last position have its value.

    Returns:
      (n, *size, c).
    """
    x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    scale, shift = jnp.full(2, float(stride)), jnp.full(2, 0.5 - 0.5 * stride)
    shape = (x.shape[0], *size, x.shape[3])
    return jax.image.scale_and_translate(x, shape, (1, 2), scale, shift, "linear", antialias=False)


def space_to_depth(x: Array, size: Sequence[int]) -> Array:
    """Moves each square of 2x2 positions into the channels of one.

    Args:
      x: (n, at most 2h, at most 2w, c); zeros are added below and on the right.
      size: (h, w).

    Returns:
      (n, h, w, 4c).
    """
    n, height, width, channels = x.shape
    h, w = size
    x = jnp.pad(x, ((0, 0), (0, 2 * h - height), (0, 2 * w - width), (0, 0)))
    return x.reshape(n, h, 2, w, 2, channels).swapaxes(2, 3).reshape(n, h, w, 4 * channels)


def depth_to_space(x: Array, size: Sequence[int]) -> Array:
    """Spreads channels over squares of 2x2 positions, the inverse of `space_to_depth` (Shi et al., CVPR 2016).

    Args:
      x: (n, h, w, 4c).
      size: (height, width) to keep of the result, at most (2h, 2w).

    Returns:
      (n, *size, c).
    """
    n, h, w, channels = x.shape
    x = x.reshape(n, h, w, 2, 2, channels // 4).swapaxes(2, 3).reshape(n, 2 * h, 2 * w, channels // 4)
    return x[:, : size[0], : size[1]]
