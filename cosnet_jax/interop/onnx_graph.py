"""A builder of ONNX graphs from the parameters of our modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.config import inference_size
from cosnet_jax.errors import InputError
from cosnet_jax.models.batch_norm import BatchNorm
from cosnet_jax.models.build import build_model

try:
    import onnx
    from onnx import helper, numpy_helper
except ImportError as error:
    raise InputError("writing ONNX needs onnx: pip install 'cosnet_jax[onnx]'") from error

OPSET, IR_VERSION = 17, 8
FLOAT = onnx.TensorProto.FLOAT


class Graph:
    """An ONNX graph under construction. Images are (n, c, h, w); modules are paths, e.g. "encoder/body/conv1".

    Attributes:
      model: the `model` section of the network's configuration.
      features: (h, w, c) of the features V.
      coarse, finest: (h, w) of the ASPP's result, and of the features of stride 4.
    """

    def __init__(self, variables: Any, config: ConfigDict):
        def encode(variables):
            images = np.zeros((1, *inference_size(config), 3), np.uint8)
            options = {"capture_intermediates": True, "mutable": ["intermediates"]}
            return build_model(config.model).apply(variables, images, method="encode", **options)

        features, captured = jax.eval_shape(encode, variables)
        encoder = captured["intermediates"]["encoder"]
        self.model, self.features = config.model, features.shape[1:]
        self.coarse = encoder["aspp"]["__call__"][0].shape[1:3]
        self.finest = encoder["body"]["__call__"][0][2].shape[1:3]
        self._variables = jax.device_get(variables)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def arrays(self, path: str, collection: str = "params") -> Any:
        """Returns the parameters or the "batch_stats" of a module, by name."""
        tree = self._variables[collection]
        for name in path.split("/"):
            tree = tree[name]
        return tree

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Adds a constant."""
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Adds a node; returns the name of its output."""
        output = output or f"{kind.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def conv(
        self, x: str, path: str, bn: str = "", stride: int = 1, dilation: int = 1, same: bool = False,
        centred: bool = False,
    ) -> str:  # fmt: skip
        """Adds a `Conv` and the `BatchNorm` after it.

        Args:
          x: the image.
          path: module of the convolution.
          bn: module of the normalisation; "" for none.
          stride, dilation: as in `Conv`.
          same: whether its padding is "SAME", else half of the kernel's reach; they differ where `stride` is above 1.
          centred: subtract the mean over the output channels.
        """
        module = self.arrays(path)
        if "filter" in module:
            filters = module["filter"]  # (k, k, 1, c_in)
            x, dilation = self._convolve(x, filters, np.zeros(filters.shape[-1]), stride, dilation, same), 1
        kernel = module["kernel"]  # (k, k, c_in or 1, c_out)
        bias = module.get("bias", np.zeros(kernel.shape[-1]))
        if bn:
            norm, running = self.arrays(bn), self.arrays(bn, "batch_stats")
            scale = norm["scale"] / np.sqrt(running["var"] + BatchNorm.epsilon)
            kernel, bias = kernel * scale, (bias - running["mean"]) * scale + norm["bias"]
        if centred:
            kernel, bias = kernel - kernel.mean(-1, keepdims=True), bias - bias.mean()
        return self._convolve(x, kernel, bias, stride, dilation, same)

    def _convolve(self, x: str, kernel: np.ndarray, bias: np.ndarray, stride: int, dilation: int, same: bool) -> str:
        padding = {"pads": [(len(kernel) - 1) * dilation // 2] * 4}
        return self.op(
            "Conv", x, self.constant(kernel.transpose(3, 2, 0, 1)), self.constant(bias), strides=[stride] * 2,
            dilations=[dilation] * 2, group=kernel.shape[3] if kernel.shape[2] == 1 else 1,
            **({"auto_pad": "SAME_UPPER"} if same and stride > 1 else padding),
        )  # fmt: skip

    def relu(self, x: str) -> str:
        return self.op("Relu", x)

    def concat(self, *images: str) -> str:
        """Concatenates channels."""
        return self.op("Concat", *images, axis=1)

    def reshape(self, x: str, *shape: int) -> str:
        """Reshapes any array; -1 stands for the rest."""
        return self.op("Reshape", x, self.constant(shape, np.int64))

    def resize(
        self, x: str, before: Sequence[int], size: Sequence[int], how: Callable[[Any, Sequence[int]], Any]
    ) -> str:
        """Resizes as `how` does, a function of (n, h, w, c) and a size that treats both axes alike."""
        rows, columns = (
            np.asarray(how(jnp.eye(old).reshape(old, old, 1, 1), (new, 1)))[..., 0, 0]
            for old, new in zip(before, size, strict=True)
        )
        return self.op("MatMul", self.constant(rows.T), self.matmul(x, columns))

    def matmul(self, x: str, matrix: np.ndarray) -> str:
        return self.op("MatMul", x, self.constant(matrix))

    def positions(self, x: str, channels: int) -> str:
        """Turns an image into (n, h * w, c)."""
        return self.op("Transpose", self.reshape(x, 0, channels, -1), perm=[0, 2, 1])

    def to_model(self, name: str, inputs: list[Any], outputs: list[Any], metadata: dict[str, str]) -> Any:
        """Returns the checked model."""
        graph = helper.make_graph(self._nodes, name, inputs, outputs, self._constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="cosnet_jax")
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model


def tensor(name: str, *shape: int | str, dtype: Any = np.float32) -> Any:
    """Declares an input or output of a graph; a text in its shape is a length that is free."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
