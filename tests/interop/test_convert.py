"""Conversion of files to checkpoints and back, with one block a layer."""

from __future__ import annotations

from collections import OrderedDict

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from cosnet_jax.checkpoints.load import load_checkpoint
from cosnet_jax.config import as_stored
from cosnet_jax.errors import InputError
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.interop import convert
from cosnet_jax.interop.presets import PRESETS
from cosnet_jax.interop.pth import read_state_dict
from cosnet_jax.models import resnet
from cosnet_jax.models.build import build_model
from cosnet_jax.models.parameters import named_leaves
from cosnet_jax.models.scaling import IMAGENET_MEAN, IMAGENET_STD

torch = pytest.importorskip("torch", reason="compares with PyTorch")
pytestmark = pytest.mark.torch
F = torch.nn.functional


def assert_same(ours, theirs):
    ours, theirs = named_leaves(ours), named_leaves(theirs)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], strict=True, err_msg=name)


def test_a_file_as_the_authors_saved_it_gives_a_checkpoint(shallow_weights, tmp_path):
    tensors = OrderedDict((f"module.{name}", torch.from_numpy(value)) for name, value in shallow_weights.items())
    path, output = tmp_path / "weights.pth", tmp_path / "checkpoint"
    torch.save({"epoch": 60, "model": tensors}, path, _use_new_zipfile_serialization=False)
    converted, initial_parts = convert.convert(path, output, "released")
    assert initial_parts == {}
    variables, config = load_checkpoint(output)
    assert as_stored(config) == as_stored(converted) == as_stored(PRESETS["released"].to_config())
    expected, _, _ = convert.convert_state_dict(shallow_weights, "released", "weights")
    assert_same(jax.device_get(variables), expected)


def test_ours_to_torch_to_ours_is_the_identity(shallow_twin, shallow_weights, tmp_path):
    variables, config, _ = convert.convert_state_dict(shallow_weights, "released", "weights")
    convert.export_pth(tmp_path / "exported.pth", variables, config)
    loaded = torch.load(tmp_path / "exported.pth", weights_only=True)
    assert loaded["epoch"] == 0
    shallow_twin.load_state_dict(loaded["model"])  # strict: all names and shapes
    again, _, _ = convert.convert_state_dict(read_state_dict(tmp_path / "exported.pth"), "released", "weights")
    assert_same(variables, again)


def test_only_the_released_architecture_is_exported(tmp_path):
    config = PRESETS["released"].to_config()
    config.model.stride_in_first = False
    with pytest.raises(InputError, match=r"only the released.*\(model\.stride_in_first is False, expected True\)"):
        convert.export_pth(tmp_path / "x.pth", {}, config)
    assert not (tmp_path / "x.pth").exists()


@pytest.mark.slow
def test_an_encoder_leaves_the_rest_at_its_initial_value(shallow_weights, tmp_path):
    encoder = {name: value for name, value in shallow_weights.items() if name.startswith("encoder.")}
    save_file(encoder, tmp_path / "deeplab.safetensors")
    _, initial_parts = convert.convert(tmp_path / "deeplab.safetensors", tmp_path / "encoder", "deeplab")
    assert initial_parts == {"affinity": 1, "gate": 1, "head_a": 7, "head_b": 7}
    variables, _ = load_checkpoint(tmp_path / "encoder")
    whole, _, _ = convert.convert_state_dict(shallow_weights, "released", "weights")
    assert_same(jax.device_get(variables["params"]["encoder"]), whole["params"]["encoder"])
    assert np.asarray(variables["params"]["head_a"]["conv1"]["kernel"]).std() > 0


def test_prefixes():
    """Encoders have any first component, or none; torchvision's DeepLabv3 keeps its ResNet under `backbone.`."""
    for prefix in ("", "Scale.", "encoder.", "backbone."):
        given = {prefix + "conv1.weight": 1, prefix + "layer1.0.conv1.weight": 2}
        assert convert.bare_names(given) == {"conv1.weight": 1, "layer1.0.conv1.weight": 2}
    given = {"backbone.conv1.weight": 1, "classifier.4.bias": 2}
    assert convert.bare_names(given) == {"conv1.weight": 1, "classifier.4.bias": 2}


def torchvision_body(encoder, images):
    """Computes layer 4 of torchvision's ResNet at output stride 8.

    Pooling rounds down, the stride is in the 3x3 convolution, and the first block of a dilated layer has the dilation
    of the previous layer.
    """
    x = F.max_pool2d(F.relu(encoder.bn1(encoder.conv1(images))), 3, stride=2, padding=1)
    layers = (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4)
    for layer, stride, dilation, before in zip(layers, (1, 2, 1, 1), (1, 1, 2, 4), (1, 1, 1, 2), strict=True):
        for index, block in enumerate(layer):
            step, spread = (stride, before) if index == 0 else (1, dilation)
            y = F.relu(block.bn1(F.conv2d(x, block.conv1.weight)))
            y = F.relu(block.bn2(F.conv2d(y, block.conv2.weight, stride=step, padding=spread, dilation=spread)))
            y = block.bn3(block.conv3(y))
            shortcut = block.downsample[1](F.conv2d(x, block.downsample[0].weight, stride=step)) if index == 0 else x
            x = F.relu(y + shortcut)
    return x


@pytest.mark.slow
def test_torchvisions_backbone(make_shallow_twin, twin_module, monkeypatch):
    monkeypatch.setitem(resnet.DEPTHS, "resnet50", (2, 2, 2, 2))
    twin = make_shallow_twin(depth=2)
    weights = {
        f"backbone.{name}": value
        for name, value in twin_module.to_numpy(twin.encoder.state_dict()).items()
        if not name.startswith(("layer5", "main_classifier"))
    }
    weights["classifier.4.bias"] = np.zeros(21, np.float32)
    variables, config, initial = convert.convert_state_dict(weights, "torchvision", "weights")
    assert config.model.backbone == "resnet50"
    assert not any("/body/" in name for name in initial)
    images = np.random.default_rng(0).integers(0, 256, (1, 48, 62, 3), dtype=np.uint8)

    @jax.jit
    def run(variables):
        model = build_model(config.model)
        _, seen = model.apply(variables, images, method="encode", capture_intermediates=True, mutable=["intermediates"])
        return seen["intermediates"]["encoder"]["body"]["layer4_1"]["__call__"][0]

    scaled = (images / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    with torch.no_grad():
        expected = torchvision_body(twin.encoder, torch.from_numpy(np.moveaxis(scaled, -1, 1)).float()).numpy()
    ours = np.moveaxis(np.asarray(run(variables)), -1, 1)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_what_does_not_fit_is_told_before_writing(shallow_weights, tmp_path):
    path, output = tmp_path / "weights.safetensors", tmp_path / "checkpoint"
    save_file({name: value for name, value in shallow_weights.items() if name != "gate.weight"}, path)
    with pytest.raises(InputError, match=r"does not fit: 1 missing: gate\.weight$"):
        convert.convert(path, output, "released")
    with pytest.raises(InputError, match=r"119 missing: .*; 158 unknown: ") as error:
        convert.convert(path, output, "deeplab")
    assert len(str(error.value)) < 500 + len(str(path)) and not output.exists()
    with pytest.raises(InputError, match="exists; expected a new or empty folder"):
        convert.convert(path, tmp_path, "released")


@pytest.mark.parametrize(("preset", "fusion"), [("released", "prediction"), ("group", "group")])
def test_the_options_of_a_preset_reach_the_segmenter(shallow_weights, tmp_path, preset, fusion):
    save_file(shallow_weights, tmp_path / "weights.safetensors")
    convert.convert(tmp_path / "weights.safetensors", tmp_path / "checkpoint", preset)
    segmenter = Segmenter.from_pretrained(tmp_path / "checkpoint", size=(41, 56))
    assert segmenter.config == InferenceConfig(5, "random", fusion, size=(41, 56), edge_radius=0)
