"""EfficientNet-Lite0 from PyTorch weights, against PyTorch with batch normalisation that is not folded."""

import jax
import numpy as np
import pytest
from torch_arrays import from_torch, needs_torch, to_torch, torch

from cosnet_jax.checkpoints.store import load_checkpoint
from cosnet_jax.errors import InputError
from cosnet_jax.interop.batch_norm_folding import fold_batch_norm
from cosnet_jax.interop.convert import convert
from cosnet_jax.interop.pth import write_pth
from cosnet_jax.models.mobilenet import MobileNet
from cosnet_jax.models.scaling import scale_input

# (expansion, channels, stride, kernel size, dilation) of each block; at output stride 16 block 11 keeps its resolution.
BLOCKS = [
    (1, 16, 1, 3, 1), (6, 24, 2, 3, 1), (6, 24, 1, 3, 1), (6, 40, 2, 5, 1), (6, 40, 1, 5, 1), (6, 80, 2, 3, 1),
    (6, 80, 1, 3, 1), (6, 80, 1, 3, 1), (6, 112, 1, 5, 1), (6, 112, 1, 5, 1), (6, 112, 1, 5, 1), (6, 192, 1, 5, 1),
    (6, 192, 1, 5, 2), (6, 192, 1, 5, 2), (6, 192, 1, 5, 2), (6, 320, 1, 3, 2),
]  # fmt: skip
STATISTICS = {"weight": (0.8, 1.2), "bias": (-0.2, 0.2), "running_mean": (-0.2, 0.2), "running_var": (1, 2)}


def random_weights():
    """A state dict under the names of the PyTorch files."""
    rng, weights = np.random.default_rng(0), {}

    def add(convolution, norm, shape):
        weights[f"{convolution}.weight"] = rng.normal(size=shape) * (2 / np.prod(shape[1:])) ** 0.5
        weights.update({f"{norm}.{key}": rng.uniform(*limits, shape[0]) for key, limits in STATISTICS.items()})

    add("_conv_stem", "_bn0", (32, 3, 3, 3))
    last = 32
    for index, (expansion, channels, _, size, _) in enumerate(BLOCKS):
        block, inner = f"_blocks.{index}.", last * expansion
        if expansion > 1:
            add(f"{block}_expand_conv", f"{block}_bn0", (inner, last, 1, 1))
        add(f"{block}_depthwise_conv", f"{block}_bn1", (inner, 1, size, size))
        add(f"{block}_project_conv", f"{block}_bn2", (channels, inner, 1, 1))
        last = channels
    add("_conv_head", "_bn1", (1280, 320, 1, 1))
    weights |= {"_fc.weight": rng.normal(size=(1000, 1280)), "_fc.bias": rng.normal(size=1000)}
    counters = {name.replace("running_var", "num_batches_tracked"): np.array(1) for name in weights if "_var" in name}
    return {name: array.astype(np.float32) for name, array in weights.items()} | counters


def torch_features(weights, x):
    """Images (n, 3, h, w) to the outputs of all blocks."""
    weights = {name: torch.from_numpy(array) for name, array in weights.items()}

    def layer(x, convolution, norm, stride=1, dilation=1, activate=True):
        kernel, pads = weights[f"{convolution}.weight"], []
        for length, size in ((x.shape[3], kernel.shape[3]), (x.shape[2], kernel.shape[2])):
            total = max((-(-length // stride) - 1) * stride + (size - 1) * dilation + 1 - length, 0)
            pads += [total // 2, total - total // 2]
        x = torch.nn.functional.pad(x, pads)
        groups = x.shape[1] // kernel.shape[1]
        x = torch.nn.functional.conv2d(x, kernel, stride=stride, dilation=dilation, groups=groups)
        statistics = [weights[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        x = torch.nn.functional.batch_norm(x, *statistics, eps=1e-3)
        return torch.nn.functional.relu6(x) if activate else x

    outputs, x = [], layer(x, "_conv_stem", "_bn0", 2)
    for index, (expansion, _, stride, _, dilation) in enumerate(BLOCKS):
        block, inputs = f"_blocks.{index}.", x
        if expansion > 1:
            x = layer(x, f"{block}_expand_conv", f"{block}_bn0")
        x = layer(x, f"{block}_depthwise_conv", f"{block}_bn1", stride, dilation)
        x = layer(x, f"{block}_project_conv", f"{block}_bn2", activate=False)
        x = x + inputs if x.shape == inputs.shape else x
        outputs.append(x)
    return outputs


@pytest.mark.slow
@needs_torch
def test_converted_weights_give_the_features_of_pytorch(tmp_path):
    weights = random_weights()
    write_pth(tmp_path / "lite0.pth", weights)
    conversion = convert(tmp_path / "lite0.pth", tmp_path / "checkpoint", "efficientnet_lite0")
    assert "encoder/body" not in conversion.initial_parts
    variables, config = load_checkpoint(str(conversion.output))
    model = MobileNet(config.model.backbone, config.model.blocks, config.model.output_stride)
    images = np.random.default_rng(1).uniform(-1, 1, (2, 65, 96, 3)).astype(np.float32)
    outputs = torch_features(weights, to_torch(images))
    params = {"params": variables["params"]["encoder"]["body"]}
    features = jax.jit(lambda params, images: model.apply(params, images, False))(params, images)
    for ours, block in zip(features, (15, 4, 2), strict=True):
        theirs = from_torch(outputs[block])
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.slow
def test_incomplete_weights_are_refused(tmp_path):
    weights = random_weights()
    del weights["_blocks.3._bn1.running_var"], weights["_blocks.7._bn2.bias"]
    weights["_blocks.3._bn0.weight"] = np.ones(5, np.float32)
    write_pth(tmp_path / "lite0.pth", weights)
    with pytest.raises(InputError, match=r"missing _blocks.3._depthwise_conv.bias") as error:
        convert(tmp_path / "lite0.pth", tmp_path / "checkpoint", "efficientnet_lite0")
    for name in ("_blocks.3._expand_conv.bias", "_blocks.7._project_conv.bias"):
        assert f"missing {name}" in str(error.value)


def test_folding_leaves_other_arrays_as_they_are():
    arrays = {"_fc.weight": np.ones((2, 3)), "_bn0.weight": np.ones(2), "_blocks.0._se_reduce.weight": np.ones(1)}
    assert fold_batch_norm(arrays) == arrays


def test_its_input_is_centred_at_127():
    images = np.array([[0, 127, 255]], np.uint8)
    np.testing.assert_array_equal(scale_input(images, "lite"), [[-127 / 128, 0, 1]])
