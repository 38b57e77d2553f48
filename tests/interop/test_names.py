"""The tables of names against those of the twin and of torchvision, and all errors of state dicts."""

from __future__ import annotations

import flax
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.interop.names import FORMATS, counterparts, from_torch, to_torch
from cosnet_jax.models.build import build_model
from cosnet_jax.models.parameters import named_leaves

RELEASED = FORMATS["released"]


def shapes(**settings):
    """Returns the shapes of the variables of a network."""
    pair = jax.ShapeDtypeStruct((1, 2, 33, 33, 3), jnp.uint8)
    model = build_model({"coattention": "vanilla", "head": "released", "channels": 256, **settings})
    variables = jax.eval_shape(model.init, jax.random.key(0), pair)
    return {"params": variables["params"], "batch_stats": variables["batch_stats"]}


@pytest.fixture(scope="module")
def network():
    return shapes(gate_bias=False)


def test_the_released_names_are_ours_one_to_one(released_weights, network):
    names = counterparts(network, RELEASED.rows)
    assert set(names) == {name for name in released_weights if not name.endswith("num_batches_tracked")}
    assert sorted(names.values()) == sorted(named_leaves(network))


def test_there_and_back_is_the_identity(released_weights, network):
    ours = from_torch(released_weights, network, RELEASED, "weights")
    assert {name: array.shape for name, array in ours.items()} == {
        name: leaf.shape for name, leaf in named_leaves(network).items()
    }
    assert {array.dtype for array in ours.values()} == {np.dtype(np.float32)}
    back = to_torch(flax.traverse_util.unflatten_dict(ours, sep="/"), RELEASED)
    assert back.keys() == released_weights.keys()
    for name, array in back.items():
        expected = np.array(0) if name.endswith("num_batches_tracked") else released_weights[name]
        np.testing.assert_array_equal(array, expected, strict=True, err_msg=name)


def test_the_deeplab_names_are_the_encoders(released_weights, network):
    names = counterparts(network, FORMATS["deeplab"].rows)
    encoder = {name.removeprefix("encoder.") for name in released_weights if name.startswith("encoder.")}
    assert set(names) == {name for name in encoder if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize(("backbone", "depths"), [("resnet50", (3, 4, 6, 3)), ("resnet101", (3, 4, 23, 3))])
def test_torchvisions_resnets_fill_the_backbone(twin_module, backbone, depths):
    with twin_module.torch.device("meta"):
        tensors = twin_module.Encoder(depths).state_dict()  # torchvision's names, apart from layer 5
    theirs = {name: value for name, value in tensors.items() if not name.startswith(("layer5", "main_classifier"))}
    weights = {name: np.zeros(tuple(value.shape), np.float32) for name, value in theirs.items()}
    weights |= {"fc.weight": np.zeros((1000, 2048), np.float32), "fc.bias": np.zeros(1000, np.float32)}
    network = shapes(backbone=backbone)
    ours = from_torch(weights, network, FORMATS["torchvision"], "weights")
    assert set(ours) == {name for name in named_leaves(network) if "/encoder/body/" in name}


def test_all_that_is_wrong_is_in_one_error(released_weights, network):
    wrong = dict(released_weights)
    wrong["gate.wrong"] = wrong.pop("gate.weight")
    wrong["bn9.num_batches_tracked"] = np.array(0)
    wrong["conv1.weight"] = wrong["conv1.weight"][:, :, :1, :1]
    wrong["bn1.bias"] = np.zeros((), np.float32)
    wrong["linear_e.weight"] = np.zeros((256, 256), np.int32)
    with pytest.raises(InputError) as error:
        from_torch(wrong, network, RELEASED, "x.pth")
    assert str(error.value) == (
        "x.pth does not fit: 1 missing: gate.weight; 2 unknown: gate.wrong, bn9.num_batches_tracked; "
        "3 of another kind: linear_e.weight (int32 (256, 256), expected floats (256, 256)), "
        "conv1.weight (float32 (256, 512, 1, 1), expected floats (256, 512, 3, 3)), "
        "bn1.bias (float32 (), expected floats (256,))"
    )
    with pytest.raises(InputError, match=r"575 missing: encoder\.layer5.*, \.\.\.$"):
        from_torch({}, network, RELEASED, "x.pth")


def test_narrow_floats_are_widened(released_weights, network):
    name = "encoder.main_classifier.bias"
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float64):
        weights = released_weights | {name: np.array([1.5], dtype)}
        bias = from_torch(weights, network, RELEASED, "weights")["params/encoder/side/bias"]
        np.testing.assert_array_equal(bias, np.array([1.5], np.float32), strict=True)
