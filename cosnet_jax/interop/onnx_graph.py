"""A builder of ONNX graphs from the parameters of our modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.models.batch_norm import BatchNorm
from cosnet_jax.models.layers import explicit_padding

try:
    import onnx
    from onnx import helper, numpy_helper
except ImportError as error:
    raise InputError("writing ONNX needs onnx: pip install 'cosnet_jax[onnx]'") from error

OPSET, IR_VERSION = 17, 8
FLOAT = onnx.TensorProto.FLOAT
Shape = tuple[int, int, int]  # channels, height, width


class Graph:
    """An ONNX graph under construction. Images are (n, c, h, w).

    Attributes:
      params, stats: the network's parameters and statistics, nested by module.
      shapes: name of an image -> its (c, h, w).
    """

    def __init__(self, variables: Any):
        variables = jax.device_get(variables)
        self.params, self.stats = variables["params"], variables.get("batch_stats", {})
        self.shapes: dict[str, Shape] = {}
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Adds a constant."""
        name = f"constant{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value, dtype), name)
        return name

    def op(self, kind: str, *inputs: str, shape: Shape | None = None, output: str = "", **attributes: Any) -> str:
        """Adds a node; returns the name of its output, an image of the first input's shape unless another is given."""
        output = output or f"{kind.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        if shape := shape or self.shapes.get(inputs[0]):
            self.shapes[output] = shape
        return output

    def reshape(self, x: str, *shape: int) -> str:
        """Reshapes any array; -1 stands for the rest."""
        return self.op("Reshape", x, self.constant(shape, np.int64))

    def conv(
        self, x: str, path: str, bn: str = "", stride: int = 1, dilation: int = 1, padding: int | str | None = None,
        centred: bool = False,
    ) -> str:  # fmt: skip
        """Adds a `Conv` and the `BatchNorm` after it.

        Args:
          x: the image.
          path: module of the convolution, e.g. "encoder/body/conv1".
          bn: module of the normalisation; "" for none.
          stride, dilation, padding: as in `Conv`.
          centred: subtract the mean over the output channels.
        """
        module = _module(self.params, path)
        if "filter" in module:
            filters = module["filter"]  # (k, k, 1, c_in)
            x, dilation = self._convolve(x, filters, np.zeros(filters.shape[-1]), stride, dilation, padding), 1
        kernel = module["kernel"]  # (k, k, c_in or 1, c_out)
        bias = module.get("bias", np.zeros(kernel.shape[-1]))
        if bn:
            norm, running = _module(self.params, bn), _module(self.stats, bn)
            scale = norm["scale"] / np.sqrt(running["var"] + BatchNorm.epsilon)
            kernel, bias = kernel * scale, (bias - running["mean"]) * scale + norm["bias"]
        if centred:
            kernel, bias = kernel - kernel.mean(-1, keepdims=True), bias - bias.mean()
        return self._convolve(x, kernel, bias, stride, dilation, padding)

    def _convolve(
        self, x: str, kernel: np.ndarray, bias: np.ndarray, stride: int, dilation: int, padding: int | str | None
    ) -> str:
        channels, *size = self.shapes[x]
        reach = (len(kernel) - 1) * dilation
        pads = explicit_padding(size, len(kernel), stride, dilation, reach // 2 if padding is None else padding)
        height, width = ((length + sum(pad) - reach - 1) // stride + 1 for length, pad in zip(size, pads, strict=True))
        return self.op(
            "Conv", x, self.constant(kernel.transpose(3, 2, 0, 1)), self.constant(bias),
            shape=(kernel.shape[-1], height, width), strides=[stride] * 2, dilations=[dilation] * 2,
            pads=[pad[side] for side in (0, 1) for pad in pads], group=channels // kernel.shape[2],
        )  # fmt: skip

    def relu(self, x: str) -> str:
        return self.op("Relu", x)

    def concat(self, *images: str) -> str:
        """Concatenates channels."""
        _, height, width = self.shapes[images[0]]
        return self.op("Concat", *images, shape=(sum(self.shapes[x][0] for x in images), height, width), axis=1)

    def resize(self, x: str, size: Sequence[int], how: Callable[[Any, Sequence[int]], Any]) -> str:
        """Resizes as `how` does, a function of (n, h, w, c) and a size that treats both axes alike."""
        channels, *before = self.shapes[x]
        rows, columns = (
            np.asarray(how(jnp.eye(old).reshape(old, old, 1, 1), (new, 1)))[..., 0, 0]
            for old, new in zip(before, size, strict=True)
        )
        x = self.op("MatMul", x, self.constant(columns))
        return self.op("MatMul", self.constant(rows.T), x, shape=(channels, size[0], size[1]))

    def matmul(self, x: str, matrix: np.ndarray) -> str:
        return self.op("MatMul", x, self.constant(matrix))

    def positions(self, x: str) -> str:
        """Turns an image into (n, h * w, c)."""
        return self.op("Transpose", self.reshape(x, 0, self.shapes[x][0], -1), perm=[0, 2, 1])

    def image(self, x: str, shape: Shape) -> str:
        """Turns (n, h * w, c) into an image."""
        x = self.reshape(self.op("Transpose", x, perm=[0, 2, 1]), -1, *shape)
        self.shapes[x] = shape
        return x

    def to_model(self, name: str, inputs: list[Any], outputs: list[Any], metadata: dict[str, str]) -> Any:
        """Returns the checked model."""
        graph = helper.make_graph(self._nodes, name, inputs, outputs, list(self._constants.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="cosnet_jax")
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model


def _module(tree: Any, path: str) -> Any:
    for name in path.split("/"):
        tree = tree[name]
    return tree


def tensor(name: str, *shape: int | str, dtype: Any = np.float32) -> Any:
    """Declares an input or output of a graph; a text in its shape is a length that is free."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
