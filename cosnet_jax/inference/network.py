"""The network as inference runs it: batches of one size, compiled once, split over the devices."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cosnet_jax.inference.options import FUSIONS
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.models.precision import with_matmul_precision
from cosnet_jax.parallel import Devices

FRAMES_PER_ACCELERATOR = 8  # in a batch; a CPU is fastest with one


class Encoded(NamedTuple):
    """What inference keeps of a frame: features (h, w, c), and as a reference its keys (j, d) and values (j, c)."""

    features: jax.Array
    keys: jax.Array
    values: jax.Array


class Network:
    """Compiled functions of lists of frames. A list shorter than the batch size is filled up with its last entry.

    Args:
      model: the network.
      size: (height, width) of its input and results.
      batch_size, matmul_precision: see `Segmenter`.
    """

    def __init__(self, model: COSNet, size: tuple[int, int], batch_size: int | None, matmul_precision: str):
        self._devices = Devices(batch_size or Devices.default_batch_size(FRAMES_PER_ACCELERATOR))
        self.batch_size, self.size, self.replicate = self._devices.batch_size, size, self._devices.replicate

        def compiled(function):
            return self._devices.compile(with_matmul_precision(function, matmul_precision))

        @compiled
        def encode(variables, images):
            """(n, *size, 3) -> features, keys and values, the last two empty without co-attention."""
            features = model.apply(variables, images, method="encode")
            if model.coattention == "none":
                return Encoded(features, features[:, :0], features[:, :0])
            return Encoded(features, *(model.apply(variables, features, method=name) for name in ("keys", "values")))

        @compiled
        def predict_alone(variables, features):
            """(n, h, w, c) -> the encoder's own probabilities (n, *size)."""
            return jax.nn.sigmoid(model.apply(variables, features, size, method="side_logits"))

        def predict(shared, queries, fusion):
            """Queries (n, h, w, c), positions (n, N) of their references among M encoded ones -> (n, *size)."""
            (variables, keys, values), (features, positions) = shared, queries
            keys, values = keys[positions], values[positions]  # (n, N, j, d), (n, N, j, c)
            if fusion == "prediction":  # each pair of a query and a reference is a query of its own
                repeated = jnp.repeat(features, positions.shape[1], axis=0)
                keys, values = (x.reshape(-1, 1, *x.shape[2:]) for x in (keys, values))
                summary, _ = model.apply(variables, repeated, keys, values, method="attend")
            else:
                summary, _ = model.apply(variables, features, keys, values, fusion, method="attend")
            probabilities = jax.nn.sigmoid(model.apply(variables, features, summary, size, method="decode"))
            return probabilities.reshape(len(features), -1, *size).mean(axis=1)

        self._encode, self._predict_alone = encode, predict_alone
        self._predict = {name: compiled(functools.partial(predict, fusion=name)) for name in FUSIONS}
        self._stack = jax.jit(lambda *arrays: jnp.stack(arrays))

    def encode(self, variables: Any, images: Sequence[np.ndarray]) -> Iterator[Encoded]:
        """Encodes images (*size, 3) uint8, at most `batch_size` of them.

        `variables` are from `replicate`, which places them on every device that takes part.
        """
        encoded = self._encode(variables, np.stack(_fill(images, self.batch_size)))
        return (Encoded(*parts) for parts, _ in zip(zip(*encoded, strict=True), images, strict=False))

    def predict(
        self,
        variables: Any,
        encoded: dict[int, Encoded],
        queries: Sequence[int],
        reference_indices: np.ndarray,
        fusion: str,
        max_references: int,
    ) -> jax.Array:
        """Segments a batch of frames, each by comparison with its references.

        Args:
          variables: from `replicate`.
          encoded: the encoded frames by their numbers.
          queries: numbers of the frames to segment.
          reference_indices: (queries, N) int, the references of each query; with N = 0 the encoder predicts alone.
          fusion: see `InferenceConfig`.
          max_references: at least the number of different references. Calls with the same number share a compiled
            function.

        Returns:
          (batch_size, *size) float32 probabilities, of which the first ones are the queries'.
        """
        features = self._stack(*_fill([encoded[query].features for query in queries], self.batch_size))
        if not reference_indices.shape[1]:
            return self._predict_alone(variables, features)
        different, positions = np.unique(reference_indices, return_inverse=True)
        references = _fill([encoded[frame] for frame in different.tolist()], max_references)
        keys, values = (self._stack(*(getattr(each, name) for each in references)) for name in ("keys", "values"))
        positions = np.resize(positions, (self.batch_size, reference_indices.shape[1]))
        return self._predict[fusion]((variables, keys, values), (features, positions))


def _fill(items: Sequence[Any], count: int) -> list[Any]:
    return [*items, *[items[-1]] * (count - len(items))]


@functools.lru_cache(maxsize=4)
def get_network(model: COSNet, size: tuple[int, int], batch_size: int | None, matmul_precision: str) -> Network:
    """Returns the same `Network` for the same arguments, so that it is compiled once."""
    return Network(model, size, batch_size, matmul_precision)
