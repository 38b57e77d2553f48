"""Layers against PyTorch and `lax.conv_general_dilated`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from torch_arrays import from_torch, normal, to_torch, torch

from cosnet_jax.models.cpu_conv import conv, wide_conv
from cosnet_jax.models.layers import (
    Conv,
    depth_to_space,
    depthwise_conv,
    explicit_padding,
    max_pool,
    resize_bilinear,
    space_to_depth,
    upsample,
)

SIZES = [(7, 9), (8, 8), (12, 7), (1, 5)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("padding", ["SAME", 4])
def test_depthwise_conv_is_the_grouped_convolution(size, stride, dilation, padding):
    x, kernel = normal(0, 2, *size, 6), normal(1, 3, 3, 1, 6)
    expected = lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME" if padding == "SAME" else [(4, 4)] * 2, rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=6,
    )  # fmt: skip
    given = jax.jit(depthwise_conv, static_argnums=(2, 3, 4))(x, kernel, stride, dilation, padding)
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_depthwise_conv_has_the_grouped_convolutions_gradient():
    x, kernel, weights = normal(0, 2, 9, 8, 4), normal(1, 3, 3, 1, 4), normal(2, 2, 5, 4, 4)

    def grouped(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=4
        )

    def ours(x, kernel):
        return depthwise_conv(x, kernel, 2, 1, "SAME")

    @functools.partial(jax.jit, static_argnums=0)
    def gradients(function, *arrays):
        return jax.grad(lambda x, kernel: (function(x, kernel) * weights).sum(), (0, 1))(*arrays)

    for given, expected in zip(gradients(ours, x, kernel), gradients(grouped, x, kernel), strict=True):
        np.testing.assert_allclose(given, expected, atol=1e-4)


def test_separable_conv_is_a_grouped_and_a_1x1_convolution():
    parts, dilation = (normal(0, 2, 9, 8, 3), normal(1, 4, 9, 8, 5)), 2
    layer = Conv(7, 3, dilation=dilation, separable=True)
    params = layer.init(jax.random.key(0), *parts)["params"]
    assert {name: value.shape for name, value in params.items()} == {"filter": (3, 3, 1, 8), "kernel": (1, 1, 8, 7)}
    x, form = np.concatenate([np.repeat(parts[0], 2, axis=0), parts[1]], -1), ("NHWC", "HWIO", "NHWC")
    filtered = lax.conv_general_dilated(
        x, params["filter"], (1, 1), [(2, 2)] * 2, rhs_dilation=(dilation, dilation), dimension_numbers=form,
        feature_group_count=8,
    )  # fmt: skip
    expected = lax.conv_general_dilated(filtered, params["kernel"], (1, 1), "VALID", dimension_numbers=form)
    np.testing.assert_allclose(layer.apply({"params": params}, *parts), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(3, 1, 1), (3, 1, 2), (3, 2, 1), (7, 2, 1), (2, 1, 1)])
def test_conv_has_the_convolutions_gradient(kernel_size, stride, dilation, dtype):
    x = jnp.array(normal(0, 3, 12, 9, 5), dtype)
    kernel = jnp.array(normal(1, kernel_size, kernel_size, 5, 4), dtype)
    pads = explicit_padding((12, 9), kernel_size, stride, dilation, "SAME")

    def plain(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), pads, rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    def ours(x, kernel):
        return conv(x, kernel, stride, dilation, pads, False)

    def value_and_gradients(function, x, kernel):
        out, gradients = jax.vjp(function, x, kernel)
        return out, *gradients(jnp.cos(jnp.arange(out.size).reshape(out.shape)).astype(dtype).astype(out.dtype))

    given = jax.jit(value_and_gradients, static_argnums=0)(ours, x, kernel)
    exact = jax.jit(value_and_gradients, static_argnums=0)(plain, x.astype(jnp.float32), kernel.astype(jnp.float32))
    for own, expected in zip(given, exact, strict=True):
        assert own.dtype == dtype
        # Sums of up to 324 products of order 1, in another order; or rounded to the 8 bits of bfloat16.
        atol = 1e-4 if dtype == jnp.float32 else 2**-8 * float(jnp.abs(expected).max())
        np.testing.assert_allclose(np.asarray(own, np.float32), expected, atol=atol)


@pytest.mark.parametrize("size", [*SIZES, (13, 22)])
@pytest.mark.parametrize("dilation", [1, 3, 9, 20])  # 20: only the middle of the filter meets the image
def test_wide_conv_is_the_dilated_convolution_and_has_its_gradient(size, dilation):
    x, kernel, weights = normal(0, 2, *size, 6), normal(1, 3, 3, 6, 4), normal(2, 2, *size, 4)

    def dilated(x, kernel, dilation):
        return lax.conv_general_dilated(
            x, kernel, (1, 1), [(dilation, dilation)] * 2, rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    def value_and_gradients(function):
        def project(x, kernel):
            out = function(x, kernel, dilation)
            return (out * weights).sum(), out

        gradients, out = jax.jit(jax.grad(project, (0, 1), has_aux=True))(x, kernel)
        return out, *gradients

    # Sums of up to 2 * 286 products of order 1, in another order.
    for given, expected in zip(value_and_gradients(wide_conv), value_and_gradients(dilated), strict=True):
        np.testing.assert_allclose(given, expected, atol=1e-4)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_platform_decides_the_form_of_a_convolution(platform):
    """What a program holds when it is lowered for a platform, on a host that has only a CPU."""
    layer, x = Conv(8, 3, dilation=6), jax.ShapeDtypeStruct((2, 20, 20, 4), jnp.float32)
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    gradient = jax.jit(jax.grad(lambda variables, x: layer.apply(variables, x).sum()))
    forward, backward = (
        jax.export.export(jax.jit(function), platforms=[platform])(variables, x).mlir_module()
        for function in (layer.apply, gradient)
    )
    # CPUs: a matrix product for each of the 9 weights; elsewhere one convolution, and one or two for the gradients.
    assert ("stablehlo.convolution" in forward, "stablehlo.dot_general" in forward) == (
        platform != "cpu",
        platform == "cpu",
    )
    assert ("stablehlo.convolution" in backward) == (platform != "cpu")


def test_several_inputs_of_a_conv_are_joined_and_a_smaller_batch_is_repeated():
    x, y = normal(0, 6, 5, 4, 3), normal(1, 2, 5, 4, 7)
    layer = Conv(4, 3, use_bias=True)
    joined = jnp.concatenate([x, jnp.repeat(y, 3, axis=0)], axis=-1)
    variables = jax.jit(layer.init)(jax.random.key(0), joined)
    apply = jax.jit(layer.apply)
    np.testing.assert_allclose(apply(variables, x, y), apply(variables, joined), atol=1e-5)
    shapes = jax.tree.map(jnp.shape, jax.eval_shape(layer.init, jax.random.key(0), x, y))
    assert shapes == jax.tree.map(jnp.shape, variables)


@pytest.mark.torch
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(1, 1, 1), (1, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 6)])
def test_conv_is_pytorchs(size, kernel_size, stride, dilation):
    x = normal(0, 2, *size, 5)
    layer = Conv(4, kernel_size, stride, dilation, use_bias=True)
    params = {"kernel": normal(1, kernel_size, kernel_size, 5, 4), "bias": np.arange(4, dtype=np.float32)}
    kernel = torch.from_numpy(params["kernel"].transpose(3, 2, 0, 1).copy())
    padding = dilation * (kernel_size - 1) // 2
    expected = torch.nn.functional.conv2d(to_torch(x), kernel, torch.arange(4.0), stride, padding, dilation)
    np.testing.assert_allclose(jax.jit(layer.apply)({"params": params}, x), from_torch(expected), atol=1e-5)


def test_same_padding_puts_the_odd_pixel_after():
    assert explicit_padding((8, 9), 3, 2, 1, "SAME") == ((0, 1), (1, 1))
    assert explicit_padding((8, 9), 3, 1, 2, "SAME") == ((2, 2), (2, 2))


@pytest.mark.torch
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("size", [(9, 8), (4, 5), (237, 118), (1, 2)])
def test_max_pool_is_pytorchs(size, ceil_mode):
    x = normal(0, 1, *size, 2)
    expected = torch.nn.functional.max_pool2d(to_torch(x), 3, 2, 1, ceil_mode=ceil_mode)
    np.testing.assert_array_equal(max_pool(jnp.array(x), ceil_mode), from_torch(expected))


@pytest.mark.torch
@pytest.mark.parametrize("size", [(13, 17), (4, 3), (5, 7)])
def test_resize_bilinear_is_pytorchs(size):
    x = normal(0, 2, 5, 7, 2)
    expected = torch.nn.functional.interpolate(to_torch(x), size, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(resize_bilinear(jnp.array(x), size), from_torch(expected), atol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("of", [(5, 7), (1, 4)])
def test_upsample_is_pytorchs_with_aligned_corners(of, stride):
    x, exact = normal(0, 2, *of, 2), [stride * (length - 1) + 1 for length in of]

    def given(size):
        return jax.jit(lambda x: upsample(x, stride, size))(x)

    expected = torch.nn.functional.interpolate(to_torch(x), exact, mode="bilinear", align_corners=True)
    np.testing.assert_allclose(given(exact), from_torch(expected), atol=1e-5)
    # Other sizes cut the result, or continue it by its last value.
    longer = [length + stride - 1 for length in exact]
    repeated = np.pad(from_torch(expected), ((0, 0), (0, stride - 1), (0, stride - 1), (0, 0)), mode="edge")
    np.testing.assert_allclose(given(longer), repeated, atol=1e-5)
    np.testing.assert_allclose(given((1, 3)), repeated[:, :1, :3], atol=1e-5)


@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_space_to_depth_takes_squares_and_depth_to_space_spreads_them(size):
    x = normal(0, 2, *size, 3)
    joined = space_to_depth(jnp.array(x), (3, 4))
    assert joined.shape == (2, 3, 4, 12)
    for row, column in ((0, 0), (2, 4), (3, 5)):
        square = joined[:, row // 2, column // 2].reshape(2, 2, 2, 3)
        np.testing.assert_array_equal(square[:, row % 2, column % 2], x[:, row, column])
    np.testing.assert_array_equal(depth_to_space(joined, size), x)
