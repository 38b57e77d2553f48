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
from cosnet_jax.models.layers import explicit_padding, resize_bilinear, upsample
from cosnet_jax.models.scaling import scale_input


def _mobilenet(graph: Graph, x: str, model: ConfigDict) -> tuple[str, str, str]:
    """Follows `MobileNetV2`."""

    def relu6(x: str) -> str:
        return graph.op("Clip", x, graph.constant(0), graph.constant(6))

    x = relu6(graph.conv(x, "encoder/body/stem", stride=2, padding="SAME"))
    index, reduced, dilation = 0, 2, 1
    last = {}
    for expansion, _, repeats, stage_stride in mobilenet.STAGES:
        for block in range(min(repeats, model.blocks - index)):
            stride, path, inputs = stage_stride if block == 0 else 1, f"encoder/body/block{index}", x
            dilate = reduced * stride > model.output_stride
            if expansion > 1:
                x = relu6(graph.conv(x, f"{path}/expand"))
            x = graph.conv(x, f"{path}/depthwise", "", 1 if dilate else stride, dilation, "SAME")
            x = graph.conv(relu6(x), f"{path}/project")
            x = graph.op("Add", x, inputs) if graph.shapes[x] == graph.shapes[inputs] else x
            index += 1
            dilation, reduced = (dilation * stride, reduced) if dilate else (dilation, reduced * stride)
            last[reduced] = x
    return x, last[8], last[4]


def _resnet(graph: Graph, x: str, model: ConfigDict) -> tuple[str, str, str]:
    """Follows `ResNet`."""
    body, in_first = "encoder/body", model.stride_in_first
    x = graph.relu(graph.conv(x, f"{body}/conv1", f"{body}/bn1", stride=2, padding=3))
    channels, *size = graph.shapes[x]
    after = [1 + (1 if model.ceil_mode and length % 2 == 0 else 0) for length in size]
    height, width = ((length - 2 + end) // 2 + 1 for length, end in zip(size, after, strict=True))
    x = graph.op(
        "MaxPool", x, shape=(channels, height, width), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, *after]
    )
    outputs, previous = [], 1
    layers = zip(resnet.DEPTHS[model.backbone], (1, 2, 1, 1), (1, 1, 2, 4), strict=True)
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


def _aspp(graph: Graph, x: str, model: ConfigDict) -> str:
    """Follows `ASPP`."""
    aspp, (_, *size) = "encoder/aspp", graph.shapes[x]

    def branch(x: str, name: str, dilation: int = 1) -> str:
        return graph.relu(graph.conv(x, f"{aspp}/{name}_conv", f"{aspp}/{name}_bn", dilation=dilation))

    mean = graph.op("GlobalAveragePool", x, shape=(graph.shapes[x][0], 1, 1))
    shape = (model.aspp_depth, *size)
    pooled = graph.op("Add", branch(mean, "pool"), graph.constant(np.zeros((1, *shape))), shape=shape)  # broadcast
    branches = [branch(x, f"rate{rate}", rate) for rate in model.aspp_rates]
    x = graph.concat(pooled, branch(x, "point"), *branches)
    x = graph.conv(x, f"{aspp}/join_conv", f"{aspp}/join_bn")
    if not model.prelu:
        return graph.relu(x)
    return graph.op("PRelu", x, graph.constant(graph.params["encoder"]["aspp"]["prelu"]["slope"].reshape(1, 1, 1)))


def _encoder(graph: Graph, images: str, model: ConfigDict) -> str:
    """Follows `Encoder`."""
    body = _resnet if model.backbone in resnet.DEPTHS else _mobilenet
    x, low_level, finest = body(graph, images, model)
    x = _aspp(graph, x, model)
    if model.low_level:
        path = "encoder/refinement"
        low_level = graph.relu(graph.conv(low_level, f"{path}/reduce_conv", f"{path}/reduce_bn"))
        size = graph.shapes[low_level][1:]
        stride = -(-size[0] // graph.shapes[x][1])
        x = graph.resize(x, size, _upsample_by(stride) if model.detail else resize_bilinear)
        x = graph.relu(graph.conv(graph.concat(x, low_level), f"{path}/join_conv", f"{path}/join_bn"))
    if model.detail:
        path, (channels, height, width) = "encoder/join_detail", graph.shapes[x]
        fine, fine_height, fine_width = graph.shapes[finest]
        rest = [2 * height - fine_height, 2 * width - fine_width]
        padded = graph.op("Pad", finest, graph.constant([0, 0, 0, 0, 0, 0, *rest], np.int64))
        squares = graph.op("SpaceToDepth", padded, shape=(4 * fine, height, width), blocksize=2)
        added = graph.relu(graph.conv(graph.concat(x, squares), f"{path}/join_conv", f"{path}/join_bn"))
        x = graph.op("Add", x, graph.conv(added, f"{path}/add_conv"), shape=(channels, height, width))
    return x


def _upsample_by(stride: int) -> Callable[[Any, Sequence[int]], Any]:
    return lambda x, size: upsample(x, stride, size)


def _compare(graph: Graph, x: str, model: ConfigDict, key: bool) -> str:
    """Follows the `key` or `query` of a co-attention: (n, positions, c) -> (n, positions, d)."""
    affinity = graph.params["affinity"]
    if model.coattention == "vanilla":
        return graph.matmul(x, affinity["weight"]) if key else x
    if model.coattention == "symmetric":
        return graph.matmul(x, affinity["projection"].T * (affinity["diagonal"] if key else 1))
    mean = graph.op("ReduceMean", x, axes=[1], keepdims=1)
    dense = graph.op("Add", graph.matmul(mean, affinity["dense"]["kernel"]), graph.constant(affinity["dense"]["bias"]))
    return graph.op("Mul", x, graph.op("Sigmoid", dense))


def _values(graph: Graph, features: str, model: ConfigDict) -> str:
    """Follows `COSNet.values`."""
    by, (channels, *size) = model.reference_pooling, graph.shapes[features]
    if by > 1:
        (top, bottom), (left, right) = explicit_padding(size, by, by, 1, "SAME")
        features = graph.op(
            "AveragePool", features, shape=(channels, -(-size[0] // by), -(-size[1] // by)), kernel_shape=[by, by],
            strides=[by, by], pads=[top, left, bottom, right], count_include_pad=0,
        )  # fmt: skip
    return graph.positions(features)


def _attend(graph: Graph, features: str, keys: str, values: str, model: ConfigDict, fusion: str) -> str:
    """Follows `COSNet.attend`, but for the mean over the references of their gated summaries."""
    if fusion.startswith("group"):  # one reference with the positions of all
        keys, values = (graph.reshape(x, 1, -1, model.channels) for x in (keys, values))
    queries = _compare(graph, graph.positions(features), model, key=False)  # (1, i, d)
    affinity = graph.op("MatMul", queries, graph.op("Transpose", keys, perm=[0, 2, 1]))  # (N, i, j)
    if fusion == "group_released":
        affinity = graph.op("Softmax", affinity, axis=1)
    summary = graph.op("MatMul", graph.op("Softmax", affinity, axis=2), values)
    summary = graph.image(summary, graph.shapes[features])
    return graph.op("Mul", summary, graph.op("Sigmoid", graph.conv(summary, "gate/conv")))


def _decode(graph: Graph, features: str, summary: str, size: tuple[int, int], model: ConfigDict) -> str:
    """Follows `COSNet.decode`; gives probabilities (N or 1, 1, *size)."""
    repeated = graph.op("Expand", features, graph.op("Shape", summary))
    x = graph.concat(summary, repeated)
    for index in range(1, 3 if model.head == "paper" else 2):
        x = graph.relu(graph.conv(x, f"head_a/conv{index}", f"head_a/bn{index}"))
    logits = graph.conv(x, "head_a/classifier")
    if not model.detail:
        return graph.op("Sigmoid", graph.resize(logits, size, resize_bilinear))
    finer = (-(-size[0] // 4), -(-size[1] // 4))
    spread = graph.op("DepthToSpace", graph.conv(features, "encoder/subpixel", centred=True), blocksize=2)
    bounds = (graph.constant(ends, np.int64) for ends in ([0, 0], finer, [2, 3]))
    spread = graph.op("Slice", spread, *bounds, shape=(1, *finer))
    logits = graph.op("Add", graph.resize(logits, finer, _upsample_by(2)), spread)
    return graph.op("Sigmoid", graph.resize(logits, size, _upsample_by(4)))


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
    graph = Graph(variables)
    image = _scaled(graph, graph.op("Cast", "image", to=FLOAT), model.input_scaling)
    image = graph.op("Transpose", image, shape=(3, *size), perm=[0, 3, 1, 2])
    features = graph.op("Identity", _encoder(graph, image, model), output="features")
    values = graph.op("Identity", _values(graph, features, model), output="values")
    graph.op("Identity", _compare(graph, values, model, key=True), output="keys")
    channels, height, width = graph.shapes[features]
    positions = -(-height // model.reference_pooling) * -(-width // model.reference_pooling)
    outputs = [tensor("features", "n", channels, height, width)]
    outputs += [tensor(name, "n", positions, channels) for name in ("keys", "values")]
    encode = graph.to_model("encode", [tensor("image", "n", *size, 3, dtype=np.uint8)], outputs, metadata)

    graph = Graph(variables)
    graph.shapes[features] = channels, height, width
    summary = _attend(graph, features, "keys", "values", model, fusion)
    if fusion == "summary":
        summary = graph.op("ReduceMean", summary, axes=[0], keepdims=1)
    probabilities = graph.reshape(_decode(graph, features, summary, size, model), -1, *size)
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
