"""Writes a trained network as two ONNX graphs, with the weights and the input's size in them (docs/onnx.md).

    encode:  image (n, H, W, 3) uint8 RGB -> features (n, c, h, w), keys (n, j, d), values (n, j, c)
    segment: features (1, c, h, w), keys (N, j, d), values (N, j, c) of N references -> probability (1, H, W)

The functions here follow the modules of `models/` one by one. Batch normalisation is folded into the convolutions.
Every resizing is two matrix products, whose matrices are what the network's own resizing makes of the unit vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.config import inference_size
from cosnet_jax.errors import InputError
from cosnet_jax.files import expanded, write_bytes
from cosnet_jax.interop.onnx_graph import FLOAT, Graph, tensor
from cosnet_jax.models import mobilenet, resnet
from cosnet_jax.models.layers import resize_bilinear, upsample
from cosnet_jax.models.scaling import scale_input


def _mobilenet(graph: Graph, x: str) -> tuple[str, str, str]:
    """Follows `MobileNetV2`."""

    def relu6(x: str) -> str:
        return graph.op("Clip", x, graph.constant(0), graph.constant(6))

    x = relu6(graph.conv(x, "encoder/body/stem", stride=2, same=True))
    index, reduced, dilation, channels = 0, 2, 1, 0
    last = {}
    for expansion, width, repeats, stage_stride in mobilenet.STAGES:
        for block in range(min(repeats, graph.model.blocks - index)):
            stride, path, inputs = stage_stride if block == 0 else 1, f"encoder/body/block{index}", x
            dilate = reduced * stride > graph.model.output_stride
            if expansion > 1:
                x = relu6(graph.conv(x, f"{path}/expand"))
            x = relu6(graph.conv(x, f"{path}/depthwise", "", 1 if dilate else stride, dilation, same=True))
            x = graph.conv(x, f"{path}/project")
            x = graph.op("Add", x, inputs) if width == channels and (dilate or stride == 1) else x
            index, channels = index + 1, width
            dilation, reduced = (dilation * stride, reduced) if dilate else (dilation, reduced * stride)
            last[reduced] = x
    return x, last[8], last[4]


def _resnet(graph: Graph, x: str) -> tuple[str, str, str]:
    """Follows `ResNet`."""
    body, in_first = "encoder/body", graph.model.stride_in_first
    x = graph.relu(graph.conv(x, f"{body}/conv1", f"{body}/bn1", stride=2))
    ceil = int(graph.model.ceil_mode)
    x = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=ceil)
    outputs, previous = [], 1
    layers = zip(resnet.DEPTHS[graph.model.backbone], (1, 2, 1, 1), (1, 1, 2, 4), strict=True)
    for layer, (depth, layer_stride, layer_dilation) in enumerate(layers, 1):
        for block in range(depth):
            path, stride, inputs = f"{body}/layer{layer}_{block}", layer_stride if block == 0 else 1, x
            dilation = previous if block == 0 and not in_first else layer_dilation
            x = graph.relu(graph.conv(x, f"{path}/conv1", f"{path}/bn1", stride if in_first else 1))
            x = graph.relu(graph.conv(x, f"{path}/conv2", f"{path}/bn2", 1 if in_first else stride, dilation))
            x = graph.conv(x, f"{path}/conv3", f"{path}/bn3")
            if block == 0:
                inputs = graph.conv(inputs, f"{path}/downsample_conv", f"{path}/downsample_bn", stride)
            x = graph.relu(graph.op("Add", x, inputs))
        previous = layer_dilation
        outputs.append(x)
    return x, outputs[1], outputs[0]


def _aspp(graph: Graph, x: str) -> str:
    """Follows `ASPP`."""
    aspp = "encoder/aspp"

    def branch(x: str, name: str, dilation: int = 1) -> str:
        return graph.relu(graph.conv(x, f"{aspp}/{name}_conv", f"{aspp}/{name}_bn", dilation=dilation))

    point = branch(x, "point")
    pooled = graph.op("Expand", branch(graph.op("GlobalAveragePool", x), "pool"), graph.op("Shape", point))
    x = graph.concat(pooled, point, *(branch(x, f"rate{rate}", rate) for rate in graph.model.aspp_rates))
    x = graph.conv(x, f"{aspp}/join_conv", f"{aspp}/join_bn")
    if not graph.model.prelu:
        return graph.relu(x)
    return graph.op("PRelu", x, graph.constant(graph.arrays(f"{aspp}/prelu")["slope"].reshape(1, 1, 1)))


def _encoder(graph: Graph, images: str) -> str:
    """Follows `Encoder`."""
    body = _resnet if graph.model.backbone in resnet.DEPTHS else _mobilenet
    x, low_level, finest = body(graph, images)
    x = _aspp(graph, x)
    (height, width), size = graph.coarse, graph.features[:2]
    if graph.model.low_level:
        path = "encoder/refinement"
        low_level = graph.relu(graph.conv(low_level, f"{path}/reduce_conv", f"{path}/reduce_bn"))
        stride = -(-size[0] // height)
        x = graph.resize(x, (height, width), size, _upsample_by(stride) if graph.model.detail else resize_bilinear)
        x = graph.relu(graph.conv(graph.concat(x, low_level), f"{path}/join_conv", f"{path}/join_bn"))
    if graph.model.detail:
        path = "encoder/join_detail"
        rest = [2 * now - fine for now, fine in zip(size, graph.finest, strict=True)]
        padded = graph.op("Pad", finest, graph.constant([0, 0, 0, 0, 0, 0, *rest], np.int64))
        squares = graph.op("SpaceToDepth", padded, blocksize=2)
        added = graph.relu(graph.conv(graph.concat(x, squares), f"{path}/join_conv", f"{path}/join_bn"))
        x = graph.op("Add", x, graph.conv(added, f"{path}/add_conv"))
    return x


def _upsample_by(stride: int) -> Callable[[Any, Sequence[int]], Any]:
    return lambda x, size: upsample(x, stride, size)


def _compare(graph: Graph, x: str, key: bool) -> str:
    """Follows the `key` or `query` of a co-attention: (n, positions, c) -> (n, positions, d)."""
    affinity = graph.arrays("affinity")
    if graph.model.coattention == "vanilla":
        return graph.matmul(x, affinity["weight"]) if key else x
    if graph.model.coattention == "symmetric":
        return graph.matmul(x, affinity["projection"].T * (affinity["diagonal"] if key else 1))
    mean = graph.op("ReduceMean", x, axes=[1], keepdims=1)
    dense = graph.op("Add", graph.matmul(mean, affinity["dense"]["kernel"]), graph.constant(affinity["dense"]["bias"]))
    return graph.op("Mul", x, graph.op("Sigmoid", dense))


def _values(graph: Graph, features: str) -> str:
    """Follows `COSNet.values`."""
    if (by := graph.model.reference_pooling) > 1:
        features = graph.op(
            "AveragePool", features, kernel_shape=[by, by], strides=[by, by], auto_pad="SAME_UPPER", count_include_pad=0
        )
    return graph.positions(features, graph.model.channels)


def _attend(graph: Graph, features: str, keys: str, values: str, fusion: str) -> str:
    """Follows `COSNet.attend`, but for the mean over the references of their gated summaries."""
    if fusion.startswith("group"):  # one reference with the positions of all
        keys, values = (graph.reshape(x, 1, -1, graph.model.channels) for x in (keys, values))
    queries = _compare(graph, graph.positions(features, graph.model.channels), key=False)  # (1, i, d)
    affinity = graph.op("MatMul", queries, graph.op("Transpose", keys, perm=[0, 2, 1]))  # (N, i, j)
    if fusion == "group_released":
        affinity = graph.op("Softmax", affinity, axis=1)
    summary = graph.op("MatMul", graph.op("Softmax", affinity, axis=2), values)
    summary = graph.reshape(graph.op("Transpose", summary, perm=[0, 2, 1]), -1, graph.features[2], *graph.features[:2])
    return graph.op("Mul", summary, graph.op("Sigmoid", graph.conv(summary, "gate/conv")))


def _decode(graph: Graph, features: str, summary: str, size: tuple[int, int]) -> str:
    """Follows `COSNet.decode`; gives probabilities (N or 1, 1, *size)."""
    before = graph.features[:2]
    x = graph.concat(summary, graph.op("Expand", features, graph.op("Shape", summary)))
    for index in range(1, 3 if graph.model.head == "paper" else 2):
        x = graph.relu(graph.conv(x, f"head_a/conv{index}", f"head_a/bn{index}"))
    logits = graph.conv(x, "head_a/classifier")
    if not graph.model.detail:
        return graph.op("Sigmoid", graph.resize(logits, before, size, resize_bilinear))
    finer = (-(-size[0] // 4), -(-size[1] // 4))
    spread = graph.op("DepthToSpace", graph.conv(features, "encoder/subpixel", centred=True), blocksize=2)
    bounds = (graph.constant(ends, np.int64) for ends in ([0, 0], finer, [2, 3]))
    coarse = graph.resize(logits, before, finer, _upsample_by(2))
    logits = graph.op("Add", coarse, graph.op("Slice", spread, *bounds))
    return graph.op("Sigmoid", graph.resize(logits, finer, size, _upsample_by(4)))


def to_onnx(variables: Any, config: ConfigDict) -> dict[str, Any]:
    """Builds the two graphs of a trained network.

    Args:
      variables: {"params": ..., "batch_stats": ...}.
      config: its configuration; the input's size and the fusion are those of `config.inference`.

    Returns:
      "encode" and "segment" -> `onnx.ModelProto`.

    Raises:
      InputError: the network has no co-attention.
    """
    model, size, fusion = config.model, inference_size(config), config.inference.fusion
    if model.coattention == "none":
        raise InputError("model.coattention is 'none'; expected one of the co-attentions")
    metadata = {
        "size": f"{size[0]} {size[1]}",
        "input": "RGB, 0 to 255, resized to `size`; the graph scales it",
        "fusion": fusion,
        "num_references": str(config.inference.num_references),
        "sampling": config.inference.sampling,
        "configuration": config.name,
    }
    graph = Graph(variables, config)
    height, width, channels = graph.features
    positions = -(-height // model.reference_pooling) * -(-width // model.reference_pooling)
    image = _scaled(graph, graph.op("Cast", "image", to=FLOAT), model.input_scaling)
    image = graph.op("Transpose", image, perm=[0, 3, 1, 2])
    features = graph.op("Identity", _encoder(graph, image), output="features")
    values = graph.op("Identity", _values(graph, features), output="values")
    graph.op("Identity", _compare(graph, values, key=True), output="keys")
    outputs = [tensor("features", "n", channels, height, width)]
    outputs += [tensor(name, "n", positions, channels) for name in ("keys", "values")]
    encode = graph.to_model("encode", [tensor("image", "n", *size, 3, dtype=np.uint8)], outputs, metadata)

    graph = Graph(variables, config)
    summary = _attend(graph, features, "keys", "values", fusion)
    if fusion == "summary":
        summary = graph.op("ReduceMean", summary, axes=[0], keepdims=1)
    probabilities = graph.reshape(_decode(graph, features, summary, size), -1, *size)
    graph.op("ReduceMean", probabilities, axes=[0], keepdims=1, output="probability")
    inputs = [tensor(features, 1, channels, height, width)]
    inputs += [tensor(name, "N", positions, channels) for name in ("keys", "values")]
    segment = graph.to_model("segment", inputs, [tensor("probability", 1, *size)], metadata)
    return {"encode": encode, "segment": segment}


def _scaled(graph: Graph, image: str, scheme: str) -> str:
    """Follows `scale_input`, a linear map of the colours; what it makes of black and the primaries tells which."""
    offset, *rows = np.asarray(scale_input(np.concatenate([np.zeros((1, 3)), np.eye(3)]), scheme), np.float64)
    return graph.op("Add", graph.matmul(image, np.stack(rows) - offset), graph.constant(offset))


def export_onnx(output: str | Path, variables: Any, config: ConfigDict) -> list[Path]:
    """Writes the two graphs of `to_onnx`: for X.onnx the files X.encode.onnx and X.segment.onnx.

    Returns:
      The files.

    Raises:
      InputError: see `to_onnx`; or a file cannot be written.
    """
    output, models = expanded(output), to_onnx(variables, config)
    paths = [output.with_suffix(f".{name}.onnx") for name in models]
    for path, model in zip(paths, models.values(), strict=True):
        write_bytes(path, model.SerializeToString())
    return paths
