"""The whole network: sizes, parameter counts, the relation of its methods."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_network import random_variables

from cosnet_jax.errors import InputError
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.models.mobilenet import MobileNetV2

LITE = {
    "backbone": "mobilenet_v2", "coattention": "vanilla", "channels": 128, "head_features": 128, "aspp_depth": 128,
    "aspp_kernel": 1, "prelu": False, "input_scaling": "unit",
}  # fmt: skip
SHIPPED = {**LITE, "coattention": "symmetric", "head_features": 64, "output_stride": 16, "low_level": 48}
DETAILED = {**SHIPPED, "detail": 96}
TINY = {**LITE, "blocks": 4, "channels": 8, "head_features": 4, "aspp_depth": 4, "aspp_rates": (2,)}


def network(**settings):
    return build_model(settings)


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
        ({"backbone": "resnet50", "coattention": "vanilla"}, 68_936_004),
        (LITE, 3_527_651),
        (SHIPPED, 3_474_051),
        (DETAILED, 3_474_051 + (128 + 4 * 24) * 96 + 2 * 96 + 96 * 128 + 129 * 4),
    ],
)
def test_parameter_counts(settings, parameters):
    assert count(shapes(network(**settings))["params"]) == parameters


def test_the_released_architecture_has_the_released_numbers_of_parameters_and_buffers():
    released = network(
        coattention="vanilla",
        head="released",
        channels=256,
        stride_in_first=True,
        ceil_mode=True,
        gate_bias=False,
        input_scaling="bgr",
    )
    variables = shapes(released)
    assert count(variables["params"]) == 81_242_436
    counters = 112  # `num_batches_tracked`, one a batch normalisation, which only PyTorch has
    assert count(variables) == 81_354_548 - counters


@pytest.mark.parametrize("ceil_mode", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_papers_features_are_60_by_60_by_512(ceil_mode):
    model = network(ceil_mode=ceil_mode)
    frame = jnp.zeros((1, 473, 473, 3), jnp.uint8)
    features = jax.eval_shape(lambda v: model.apply(v, frame, method="encode"), shapes(model))
    assert features.shape == (1, 60, 60, 512)


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v2"])
@pytest.mark.parametrize("size", [pytest.param((33, 48), marks=pytest.mark.slow), (50, 17)])
def test_any_size_gives_predictions_of_that_size(backbone, size):
    model = network(**{**TINY, "backbone": backbone})
    pair = jnp.zeros((1, 2, *size, 3), jnp.uint8)
    logits, aux = jax.eval_shape(model.apply, shapes(model), pair)
    side = aux["side_logits"]
    assert logits.shape == side.shape == (1, 2, *size)
    assert logits.dtype == side.dtype == jnp.float32


@pytest.mark.parametrize("pooling", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_encode_attend_decode_give_the_pairs_prediction(pooling):
    model = network(**TINY | {"coattention": "symmetric"}, reference_pooling=pooling)
    pair = jax.random.uniform(jax.random.key(1), (2, 2, 33, 40, 3), maxval=255)
    variables = random_variables(model)
    logits, aux = jax.jit(model.apply)(variables, pair)

    @jax.jit
    def in_parts(variables, pair):
        a, b = (model.apply(variables, pair[:, frame], method="encode") for frame in (0, 1))
        keys, values = (model.apply(variables, b, method=method)[:, None] for method in ("keys", "values"))
        assert values.shape[2] == {1: 5 * 5, 2: 3 * 3}[pooling]
        summary, _ = model.apply(variables, a, keys, values, method="attend")
        alone = model.apply(variables, a, summary, (33, 40), method="decode")
        return alone, model.apply(variables, a, (33, 40), method="side_logits")

    for given, expected in zip(in_parts(variables, pair), (logits, aux["side_logits"]), strict=True):
        np.testing.assert_allclose(given, expected[:, 0], atol=1e-5)


def test_low_level_features_bring_output_stride_16_back_to_8():
    deeper = {**TINY, "blocks": 7}  # the first one at stride 16 is the seventh
    model = network(**deeper, output_stride=16, low_level=4)
    pair = jax.random.uniform(jax.random.key(1), (1, 2, 65, 97, 3), maxval=255)
    variables = random_variables(model)
    for each, size in ((model, (9, 13)), (network(**deeper, output_stride=16), (5, 7))):
        encode = functools.partial(each.apply, method="encode")
        assert jax.eval_shape(encode, variables, pair[:, 0]).shape == (1, *size, 8)
    # Both resolutions reach the result.
    without = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if "reduce_conv" in jax.tree_util.keystr(path) else leaf, variables
    )
    segment = jax.jit(model.apply)
    assert jnp.abs(segment(variables, pair)[0] - segment(without, pair)[0]).max() > 1e-4


def test_features_of_stride_4_make_masks_of_stride_4():
    model = network(**{**TINY, "blocks": 7, "coattention": "symmetric"}, output_stride=16, low_level=4, detail=4)
    pair = jax.random.uniform(jax.random.key(1), (1, 2, 65, 97, 3), maxval=255)
    variables = random_variables(model)
    segment = jax.jit(model.apply)

    def outputs(variables):
        logits, aux = segment(variables, pair)
        return logits, aux["side_logits"]

    def without(layer):
        changed = jax.tree_util.tree_map_with_path(
            lambda path, leaf: np.zeros_like(leaf) if layer in jax.tree_util.keystr(path) else leaf, variables
        )
        return outputs(changed)

    both = outputs(variables)
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
        {"output_stride": 8}, {"output_stride": 16, "blocks": 7, "low_level": 4, "dtype": "bfloat16"},
        {"head": "released", "remat": True}, {"coattention": "none"}, {"backbone": "resnet50", "low_level": 4},
        pytest.param({"backbone": "resnet50", "ceil_mode": True}, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_every_network_has_masks_of_stride_4_at_any_size(settings, size):
    model = network(**{**TINY, **settings}, detail=4)
    variables, frame = shapes(model), jnp.zeros((1, *size, 3), jnp.uint8)
    logits, aux = jax.eval_shape(model.apply, variables, jnp.stack([frame, frame], 1))
    assert logits.shape == aux["side_logits"].shape == (1, 2, *size)
    features = jax.eval_shape(functools.partial(model.apply, method="encode"), variables, frame)
    if model.coattention != "none":  # three summaries of one frame, as in prediction fusion
        summaries = jnp.zeros((3, *features.shape[1:]))
        decode = functools.partial(model.apply, size=size, method="decode")
        assert jax.eval_shape(decode, variables, features, summaries).shape == (3, *size)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters():
    model = network(**TINY, dtype="bfloat16")
    variables = shapes(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    frame = jnp.zeros((1, 33, 33, 3))
    assert jax.eval_shape(lambda v: model.apply(v, frame, method="encode"), variables).dtype == jnp.bfloat16


def test_many_references_are_summed_beyond_bfloat16():
    model = network(**TINY, dtype="bfloat16")
    variables = random_variables(model)
    features, keys, values = (
        jax.random.normal(jax.random.key(seed), shape, jnp.bfloat16)
        for seed, shape in enumerate([(1, 3, 4, 8), (1, 64, 12, 8), (1, 64, 12, 8)])
    )
    attend = jax.jit(functools.partial(model.apply, variables, method="attend"))
    each = [attend(features, keys[:, [i]], values[:, [i]])[0] for i in range(64)]
    together = np.float32(attend(features, keys, values)[0])
    expected = np.mean(np.float32(each), axis=0)
    # A summary of about 1 is rounded by 2^-9, or not where XLA fuses, and so is the result; 0.0005 were seen. A running
    # sum in bfloat16 is 0.004 off.
    np.testing.assert_allclose(together, expected, atol=1e-3)


def test_without_coattention_the_prediction_is_the_encoders_own():
    model = network(**TINY | {"coattention": "none"})
    pair = jax.random.uniform(jax.random.key(1), (1, 2, 33, 33, 3), maxval=255)
    variables = random_variables(model)
    assert set(variables["params"]) == {"encoder"}
    logits, aux = jax.jit(model.apply)(variables, pair)
    np.testing.assert_array_equal(logits, aux["side_logits"])
    assert set(aux) == {"side_logits", "features"}


@pytest.mark.parametrize("setting", [{"backbone": "vgg16"}, {"coattention": "full"}, {"head": "big"}, {"blocks": 3}])
def test_unknown_parts_are_named(setting):
    ((key, value),) = setting.items()
    with pytest.raises(InputError, match=f"model.{key} is {value!r}; expected"):
        network(**{**TINY, **setting})


@pytest.mark.parametrize(("stride", "size", "low_level"), [(8, (29, 25), 320), (16, (15, 13), 32)])
def test_mobilenet_has_its_output_stride_and_widths(stride, size, low_level):
    model = MobileNetV2(output_stride=stride)
    x = jnp.zeros((1, 225, 200, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), x, False)
    features, finer, finest = jax.eval_shape(lambda v: model.apply(v, x, False), variables)
    assert features.shape == (1, *size, 320)
    assert finer.shape == (1, 29, 25, low_level)
    assert finest.shape == (1, 57, 50, 24)


def test_a_pair_returns_what_it_was_made_of():
    """The named results are those of the parts, in the order of the frames."""
    model = network(**{**TINY, "coattention": "vanilla"})
    variables = random_variables(model)
    pair = jax.random.uniform(jax.random.key(1), (2, 2, 33, 40, 3), maxval=255)
    _, aux = jax.jit(model.apply)(variables, pair)
    assert {name: value.shape for name, value in aux.items()} == {
        "features": (2, 2, 5, 5, 8), "side_logits": (2, 2, 33, 40), "affinity": (2, 2, 25, 25),
        "summary": (2, 2, 5, 5, 8), "gate": (2, 2, 5, 5),
    }  # fmt: skip
    v = np.asarray(aux["features"]).reshape(2, 2, 25, 8)
    w = variables["params"]["affinity"]["weight"]
    expected = np.einsum("nid,cd,njc->nij", v[:, 0], w, v[:, 1])  # Eq. 2: V_b^T W V_a, as [i, j]
    np.testing.assert_allclose(aux["affinity"][:, 0], expected, atol=1e-5)
    np.testing.assert_array_equal(aux["affinity"][:, 1], np.swapaxes(aux["affinity"][:, 0], 1, 2))
    weights = np.exp(expected - expected.max(2, keepdims=True))
    summary = np.einsum("nij,njc->nic", weights / weights.sum(2, keepdims=True), v[:, 1])
    np.testing.assert_allclose(aux["summary"][:, 0].reshape(2, 25, 8), summary, atol=1e-5)
    blockwise = model.clone(affinity_budget=1e-4)
    _, other = jax.jit(blockwise.apply)(variables, pair)
    assert "affinity" not in other
    np.testing.assert_allclose(other["summary"], aux["summary"], atol=1e-5)


class Patches(nn.Module):
    """A backbone of one's own: patches of 8x8 and of 4x4 pixels."""

    @nn.compact
    def __call__(self, images, train):
        del train
        coarse, fine = (nn.Conv(6, (size, size), size)(images) for size in (8, 4))
        return coarse, coarse, fine


def test_any_module_is_a_backbone():
    model = COSNet(backbone=Patches(), channels=8, aspp_depth=4, aspp_rates=(2,), head_features=4, detail=4)
    variables = init_variables(model, 0)
    assert set(variables["params"]["encoder"]["body"]) == {"Conv_0", "Conv_1"}
    logits, aux = jax.eval_shape(model.apply, variables, jnp.zeros((1, 2, 64, 96, 3), jnp.uint8))
    assert logits.shape == (1, 2, 64, 96) and aux["features"].shape == (1, 2, 8, 12, 8)
