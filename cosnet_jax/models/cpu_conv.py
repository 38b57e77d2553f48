"""Convolution, in the form that suits the platform a program is lowered for.

Accelerators take XLA's own. On CPUs the gradient to a filter is a matrix product for each example, which takes a half
to a third of the time, and a filter with a large dilation for its input skips the products with the zeros around it.
`jax.lax.platform_dependent` chooses when the program is lowered, so that `jax.export` and ahead-of-time compilation are
right for every platform.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array
Pads = tuple[tuple[int, int], tuple[int, int]]  # pixels (before, after) of each spatial axis


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def conv(x: Array, kernel: Array, stride: int, dilation: int, pads: Pads, wide: bool) -> Array:
    """Convolves.

    Args:
      x: (n, h, w, c).
      kernel: (k, k, c, d).
      stride, dilation: the convolution's, the same for both axes.
      pads: pixels to add around x.
      wide: whether CPUs take `wide_conv`; then the result has the input's size.

    Returns:
      (n, h', w', d).
    """
    plain = functools.partial(_plain, stride=stride, dilation=dilation, pads=pads)
    if not wide:
        return plain(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=functools.partial(wide_conv, dilation=dilation), default=plain)


def _plain(x: Array, kernel: Array, stride: int, dilation: int, pads: Pads) -> Array:
    """XLA's own convolution."""
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), pads,
        rhs_dilation=(dilation, dilation), dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


def _forward(x: Array, kernel: Array, stride: int, dilation: int, pads: Pads, wide: bool):
    return conv(x, kernel, stride, dilation, pads, wide), (x, kernel)


def _backward(stride: int, dilation: int, pads: Pads, wide: bool, residuals, gradient: Array):
    plain = functools.partial(_plain, stride=stride, dilation=dilation, pads=pads)

    def of_plain(x, kernel, gradient):
        return jax.vjp(plain, x, kernel)[1](gradient)

    def of_wide(x, kernel, gradient):
        return jax.vjp(functools.partial(wide_conv, dilation=dilation), x, kernel)[1](gradient)

    def on_cpu(x, kernel, gradient):
        (to_x,) = jax.vjp(lambda x: plain(x, kernel), x)[1](gradient)
        return to_x, _gradient_to_filter(x, kernel, gradient, stride, dilation, pads)

    return lax.platform_dependent(*residuals, gradient, cpu=of_wide if wide else on_cpu, default=of_plain)


conv.defvjp(_forward, _backward)


def _gradient_to_filter(x: Array, kernel: Array, gradient: Array, stride: int, dilation: int, pads: Pads) -> Array:
    """Sums over the examples the product of the output's gradient with the input of each weight; (k, k, c, d)."""

    def add(total, example):
        frame, frame_gradient = example
        rows = windows(jnp.pad(frame[None], ((0, 0), *pads, (0, 0))), kernel.shape[:2], stride, dilation)
        inputs = jnp.concatenate([window[0] for row in rows for window in row], axis=-1)
        return total + jnp.einsum("hwd,hwk->dk", frame_gradient, inputs, preferred_element_type=jnp.float32), None

    size, _, channels, features = kernel.shape
    total, _ = lax.scan(add, jnp.zeros((features, size * size * channels), jnp.float32), (x, gradient))
    return total.T.reshape(kernel.shape).astype(kernel.dtype)


def windows(x: Array, size: Sequence[int], stride: int, dilation: int) -> list[list[Array]]:
    """Returns the inputs (n, h', w', c) of each row and column of a filter; x is padded already."""
    rows, columns = (range(0, length * dilation, dilation) for length in size)
    height, width = x.shape[1] - rows[-1], x.shape[2] - columns[-1]
    return [[x[:, row : row + height : stride, column : column + width : stride] for column in columns] for row in rows]


def wide_conv(x: Array, kernel: Array, dilation: int) -> Array:
    """Convolves to the same size by one matrix product for each weight of the filter, without the padding's zeros.

    Args:
      x: (n, h, w, c).
      kernel: (k, k, c, d), k odd.
      dilation: dilation of the filter.

    Returns:
      (n, h, w, d).
    """
    out = jnp.zeros((*x.shape[:3], kernel.shape[-1]), jnp.float32)
    rows, columns = (list(_overlaps(length, kernel.shape[0], dilation)) for length in x.shape[1:3])
    for (row, rows_in, rows_out), (column, columns_in, columns_out) in itertools.product(rows, columns):
        inputs, weights = x[:, rows_in, columns_in], kernel[row, column]
        product = jnp.einsum("nhwc,cd->nhwd", inputs, weights, preferred_element_type=jnp.float32)
        out = out.at[:, rows_out, columns_out].add(product)
    return out.astype(x.dtype)


def _overlaps(length: int, size: int, dilation: int) -> Iterator[tuple[int, slice, slice]]:
    """Yields, along one axis, (number of a weight of the filter, slice of its inputs, slice of their outputs)."""
    for number in range(size):
        offset = (number - size // 2) * dilation
        if abs(offset) < length:
            before, after = max(0, -offset), min(length, length - offset)
            yield number, slice(before + offset, after + offset), slice(before, after)


def is_wide(size: Sequence[int], kernel_size: int, dilation: int) -> bool:
    """Returns whether more than a tenth of a filter's products are with the zeros around an input of size (h, w)."""
    inside = [sum(part.stop - part.start for _, part, _ in _overlaps(length, kernel_size, dilation)) for length in size]
    return inside[0] * inside[1] < 0.9 * kernel_size**2 * size[0] * size[1]
