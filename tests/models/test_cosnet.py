"""The whole network: sizes, parameter counts, the relation of its methods."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_network import random_variables

from cosnet_jax.models.build import init_variables
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.models.mobilenet import BLOCKS, MobileNet

LITE = {
    "backbone": "mobilenet_v2", "channels": 128, "head_features": 128, "aspp_depth": 128, "aspp_kernel": 1, "prelu":
    False, "input_scaling": "unit",
}  # fmt: skip
SHIPPED = {**LITE, "coattention": "symmetric", "head_features": 64, "output_stride": 16, "low_level": 48}
DETAILED = {**SHIPPED, "detail": 96}
LITE0 = {**SHIPPED, "backbone": "efficientnet_lite0", "blocks": 16, "input_scaling": "lite"}
TINY = {**LITE, "blocks": 4, "channels": 8, "head_features": 4, "aspp_depth": 4, "aspp_rates": (2,)}


@functools.cache
def shapes(model):
    return jax.eval_shape(lambda: init_variables(model, 0))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({"coattention": "symmetric"}, 87_928_644),
        pytest.param({"coattention": "vanilla"}, 87_928_132, marks=pytest.mark.slow),
        pytest.param({"coattention": "channelwise"}, 87_928_644, marks=pytest.mark.slow),
        pytest.param({"coattention": "none"}, 84_715_074, marks=pytest.mark.slow),
        ({"backbone": "resnet50"}, 68_936_004),
        (LITE, 3_527_651),
        (SHIPPED, 3_474_051),
        (DETAILED, 3_474_051 + (128 + 4 * 24) * 96 + 2 * 96 + 96 * 128 + 129 * 4),
        (LITE0, 4_617_619),
    ],
)
def test_parameter_counts(settings, parameters):
    assert count(shapes(COSNet(**settings))["params"]) == parameters


def test_the_released_architecture_has_the_released_numbers_of_parameters_and_buffers():
    released = COSNet(
        head="released", channels=256, stride_in_first=True, ceil_mode=True, gate_bias=False, input_scaling="bgr"
    )
    variables = shapes(released)
    assert count(variables["params"]) == 81_242_436
    counters = 112  # `num_batches_tracked`, one a batch normalisation, which only PyTorch has
    assert count(variables) == 81_354_548 - counters


@pytest.mark.parametrize("ceil_mode", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_papers_features_are_60_by_60_by_512(ceil_mode):
    model = COSNet(ceil_mode=ceil_mode)
    frame = jnp.zeros((1, 473, 473, 3), jnp.uint8)
    features = jax.eval_shape(lambda v: model.apply(v, frame, method="encode"), shapes(model))
    assert features.shape == (1, 60, 60, 512)


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v2"])
@pytest.mark.parametrize("size", [pytest.param((33, 48), marks=pytest.mark.slow), (50, 17)])
def test_any_size_gives_predictions_of_that_size(backbone, size):
    model = COSNet(**{**TINY, "backbone": backbone})
    pair = jnp.zeros((1, 2, *size, 3), jnp.uint8)
    logits, side = jax.eval_shape(model.apply, shapes(model), pair)
    assert logits.shape == side.shape == (1, 2, *size)
    assert logits.dtype == side.dtype == jnp.float32


@pytest.mark.parametrize("pooling", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_encode_attend_decode_give_the_pairs_prediction(pooling):
    model = COSNet(**TINY, coattention="symmetric", reference_pooling=pooling)
    pair = jax.random.uniform(jax.random.key(1), (2, 2, 33, 40, 3), maxval=255)
    variables = random_variables(model)
    logits, side = jax.jit(model.apply)(variables, pair)

    @jax.jit
    def in_parts(variables, pair):
        a, b = (model.apply(variables, pair[:, frame], method="encode") for frame in (0, 1))
        keys, values = (model.apply(variables, b, method=method)[:, None] for method in ("keys", "values"))
        assert values.shape[2] == {1: 5 * 5, 2: 3 * 3}[pooling]
        summary = model.apply(variables, a, keys, values, method="attend")
        alone = model.apply(variables, a, summary, (33, 40), method="decode")
        return alone, model.apply(variables, a, (33, 40), method="side_logits")

    for given, expected in zip(in_parts(variables, pair), (logits, side), strict=True):
        np.testing.assert_allclose(given, expected[:, 0], atol=1e-5)


def test_a_random_key_hides_channels_of_v_from_the_head_and_none_of_z():
    model = COSNet(**TINY, coattention="symmetric", head_dropout=0.5)
    features, summary = jax.random.normal(jax.random.key(1), (2, 1, 5, 5, 8))
    variables = random_variables(model)

    @functools.partial(jax.jit, static_argnums=2)
    def decode(features, summary, seed=None):
        rngs = {} if seed is None else {"dropout": jax.random.key(seed)}
        return model.apply(variables, features, summary, (33, 40), method="decode", rngs=rngs)

    plain, nothing = decode(features, summary), jnp.zeros_like(features)
    assert jnp.abs(decode(features, summary, 0) - plain).max() > 1e-3
    np.testing.assert_array_equal(decode(features, summary, 0), decode(features, summary, 0))
    assert jnp.abs(decode(features, summary, 0) - decode(features, summary, 1)).max() > 1e-3
    np.testing.assert_array_equal(decode(nothing, summary, 0), decode(nothing, summary, 1))
    # Without a key it is another program, whose last bit may differ.
    np.testing.assert_allclose(decode(nothing, summary, 0), decode(nothing, summary), rtol=1e-6)


def test_low_level_features_bring_output_stride_16_back_to_8():
    deeper = {**TINY, "blocks": 7}  # the first one at stride 16 is the seventh
    model = COSNet(**deeper, output_stride=16, low_level=4)
    pair = jax.random.uniform(jax.random.key(1), (1, 2, 65, 97, 3), maxval=255)
    variables = random_variables(model)
    for network, size in ((model, (9, 13)), (COSNet(**deeper, output_stride=16), (5, 7))):
        encode = functools.partial(network.apply, method="encode")
        assert jax.eval_shape(encode, variables, pair[:, 0]).shape == (1, *size, 8)
    # Both resolutions reach the result.
    without = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if "reduce_conv" in jax.tree_util.keystr(path) else leaf, variables
    )
    segment = jax.jit(model.apply)
    assert jnp.abs(segment(variables, pair)[0] - segment(without, pair)[0]).max() > 1e-4


def test_features_of_stride_4_make_masks_of_stride_4():
    model = COSNet(**{**TINY, "blocks": 7}, coattention="symmetric", output_stride=16, low_level=4, detail=4)
    pair = jax.random.uniform(jax.random.key(1), (1, 2, 65, 97, 3), maxval=255)
    variables = random_variables(model)
    segment = jax.jit(model.apply)

    def without(layer):
        changed = jax.tree_util.tree_map_with_path(
            lambda path, leaf: np.zeros_like(leaf) if layer in jax.tree_util.keystr(path) else leaf, variables
        )
        return segment(changed, pair)

    both = segment(variables, pair)
    for given, changed in zip(both, without("add_conv"), strict=True):
        assert jnp.abs(given - changed).max() > 1e-4
    # Every fourth pixel is a position of its own. Two of them stand in a position of stride 8, and they differ from its
    # logit by the same; without the layer that spreads logits, pixels in between are on straight lines.
    for given, smooth in zip(both, without("subpixel"), strict=True):
        spread = (given - smooth)[:, :, ::4, ::4][:, :, :16, :24].reshape(1, 2, 8, 2, 12, 2)
        assert jnp.abs(spread).max() > 1e-2
        np.testing.assert_allclose(spread.mean((3, 5)), 0, atol=1e-5)
        np.testing.assert_allclose(smooth[:, :, 4::8], (smooth[:, :, :-8:8] + smooth[:, :, 8::8]) / 2, atol=1e-5)


@pytest.mark.parametrize(
    "size", [*(pytest.param(size, marks=pytest.mark.slow) for size in ((33, 48), (15, 16))), (50, 17)]
)
@pytest.mark.parametrize(
    "settings",
    [
        {"output_stride": 8}, {"output_stride": 16, "blocks": 7, "low_level": 4, "dtype": jnp.bfloat16},
        {"head": "released", "remat": True}, {"coattention": "none"}, {"backbone": "resnet50", "low_level": 4},
        pytest.param({"backbone": "resnet50", "ceil_mode": True}, marks=pytest.mark.slow),
        {"backbone": "efficientnet_lite0"},
    ],
)  # fmt: skip
def test_every_network_has_masks_of_stride_4_at_any_size(settings, size):
    model = COSNet(**{**TINY, **settings}, detail=4)
    variables, frame = shapes(model), jnp.zeros((1, *size, 3), jnp.uint8)
    logits, side = jax.eval_shape(model.apply, variables, jnp.stack([frame, frame], 1))
    assert logits.shape == side.shape == (1, 2, *size)
    features = jax.eval_shape(functools.partial(model.apply, method="encode"), variables, frame)
    if model.coattention != "none":  # three summaries of one frame, as in prediction fusion
        summaries = jnp.zeros((3, *features.shape[1:]))
        decode = functools.partial(model.apply, size=size, method="decode")
        assert jax.eval_shape(decode, variables, features, summaries).shape == (3, *size)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters():
    model = COSNet(**TINY, dtype=jnp.bfloat16)
    variables = shapes(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    frame = jnp.zeros((1, 33, 33, 3))
    assert jax.eval_shape(lambda v: model.apply(v, frame, method="encode"), variables).dtype == jnp.bfloat16


def test_many_references_are_summed_beyond_bfloat16():
    model = COSNet(**TINY, dtype=jnp.bfloat16)
    variables = random_variables(model)
    features, keys, values = (
        jax.random.normal(jax.random.key(seed), shape, jnp.bfloat16)
        for seed, shape in enumerate([(1, 3, 4, 8), (1, 64, 12, 8), (1, 64, 12, 8)])
    )
    attend = jax.jit(functools.partial(model.apply, variables, method="attend"))
    each = [attend(features, keys[:, [i]], values[:, [i]]) for i in range(64)]
    together = np.float32(attend(features, keys, values))
    expected = np.mean(np.float32(each), axis=0)
    # A summary of about 1 is rounded by 2^-9, or not where XLA fuses, and so is the result; 0.0005 were seen. A running
    # sum in bfloat16 is 0.004 off.
    np.testing.assert_allclose(together, expected, atol=1e-3)


def test_without_coattention_the_prediction_is_the_encoders_own():
    model = COSNet(**TINY, coattention="none")
    pair = jax.random.uniform(jax.random.key(1), (1, 2, 33, 33, 3), maxval=255)
    variables = random_variables(model)
    assert set(variables["params"]) == {"encoder"}
    logits, side = jax.jit(model.apply)(variables, pair)
    np.testing.assert_array_equal(logits, side)


@pytest.mark.parametrize("setting", [{"backbone": "vgg16"}, {"coattention": "full"}, {"head": "big"}])
def test_unknown_parts_are_named(setting):
    (value,) = setting.values()
    with pytest.raises(ValueError, match=f"{value!r}; expected"):
        shapes(COSNet(**{**TINY, **setting}))


@pytest.mark.parametrize(
    ("variant", "stride", "size", "low_level"),
    [
        ("mobilenet_v2", 8, (29, 25), 320),
        ("mobilenet_v2", 16, (15, 13), 32),
        ("efficientnet_lite0", 16, (15, 13), 40),
    ],
)
def test_mobilenets_have_their_output_stride_and_widths(variant, stride, size, low_level):
    model = MobileNet(variant, BLOCKS[variant], stride)
    x = jnp.zeros((1, 225, 200, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), x, False)
    features, finer, finest = jax.eval_shape(lambda v: model.apply(v, x, False), variables)
    assert features.shape == (1, *size, 320)
    assert finer.shape == (1, 29, 25, low_level)
    assert finest.shape == (1, 57, 50, 24)
