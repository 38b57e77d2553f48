"""The network as the engine runs it: batches of one size, compiled once, split over the devices."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cosnet_jax.inference.resize import resize_antialiased
from cosnet_jax.models import cosnet
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.parallel import Devices

FUSIONS = ("prediction", *cosnet.FUSIONS)
FRAMES_PER_ACCELERATOR = 8  # in a batch; a CPU is fastest with one


class Encoded(NamedTuple):
    """What is kept of a frame: features (h, w, c), and keys (j, d), empty without co-attention."""

    features: jax.Array
    keys: jax.Array


class Network:
    """Compiled functions of lists of frames, which a call fills up to its batch size by repeating the last.

    Attributes:
      batch_size: the most frames that a call takes.
      size: (height, width) of the input and the results.
    """

    def __init__(self, model: COSNet, size: tuple[int, int], batch_size: int | None = None):
        """Prepares the functions; they are compiled when they are called.

        Args:
          model: the network.
          size: (height, width) of its input and results.
          batch_size: see `Segmenter`.
        """
        self._devices = Devices(batch_size or Devices.default_batch_size(FRAMES_PER_ACCELERATOR))
        self.batch_size, self.size = self._devices.batch_size, size
        has_coattention = model.coattention != "none"

        def encode(variables, images):
            """(n, *size, 3) -> features (n, h, w, c) and keys (n, j, d)."""
            features = model.apply(variables, images, method="encode")
            keys = model.apply(variables, features, method="keys") if has_coattention else features[:, :0]
            return Encoded(features, keys)

        def segment_alone(variables, features):
            """(n, h, w, c) -> the encoder's own probabilities (n, *size)."""
            return jax.nn.sigmoid(model.apply(variables, features, size, method="side_logits"))

        def segment(shared, queries, fusion):
            """Queries (n, h, w, c), places (n, N) of their references among M encoded ones -> (n, *size)."""
            (variables, encoded), (features, places) = shared, queries
            values = model.apply(variables, encoded.features, method="values")
            keys, values = encoded.keys[places], values[places]  # (n, N, j, d), (n, N, j, c)
            if fusion != "prediction":
                summary = model.apply(variables, features, keys, values, fusion, method="attend")
                return jax.nn.sigmoid(model.apply(variables, features, summary, size, method="decode"))
            summaries = model.apply(variables, features, keys, values, method="summaries")  # (n, N, h, w, c)
            summaries = summaries.reshape(-1, *features.shape[1:])
            probabilities = jax.nn.sigmoid(model.apply(variables, features, summaries, size, method="decode"))
            return probabilities.reshape(*places.shape, *size).mean(axis=1)

        self._encode, self._segment_alone = self._devices.compile(encode), self._devices.compile(segment_alone)
        self._segment = {name: self._devices.compile(functools.partial(segment, fusion=name)) for name in FUSIONS}
        self._stack = jax.jit(lambda trees: jax.tree.map(lambda *arrays: jnp.stack(arrays), *trees))
        self.resize_input = jax.jit(lambda frame: resize_antialiased(frame[None], size)[0])

    def place(self, variables: Any) -> Any:
        """The variables as the functions take them: on every device that takes part."""
        return self._devices.share(variables)

    def encode(self, variables: Any, images: Sequence[jax.Array]) -> Iterator[Encoded]:
        """Encodes images (*size, 3) uint8 from `shrink`."""
        encoded = self._encode(variables, self._joined(images, self.batch_size))
        return (Encoded(*parts) for parts, _ in zip(zip(*encoded, strict=True), images, strict=False))

    def segment(
        self,
        variables: Any,
        encoded: dict[int, Encoded],
        queries: Sequence[int],
        table: np.ndarray,
        fusion: str,
        room: int,
    ) -> jax.Array:
        """Segments frames by comparing each with others.

        Args:
          variables: from `place`.
          encoded: frames by their numbers.
          queries: numbers of the frames to segment.
          table: (queries, N) int, the references of each; with N = 0 the encoder predicts alone.
          fusion: see `InferenceOptions`.
          room: at least the number of different references; calls with the same one share a compiled function.

        Returns:
          (batch_size, *size) float32 probabilities, of which the first ones are the queries'.
        """
        features = self._joined([encoded[query].features for query in queries], self.batch_size)
        if not table.shape[1]:
            return self._segment_alone(variables, features)
        different, places = np.unique(table, return_inverse=True)
        references = self._joined([encoded[reference] for reference in different.tolist()], room)
        places = np.resize(places, (self.batch_size, table.shape[1]))
        return self._segment[fusion]((variables, references), (features, places))

    def _joined(self, trees: Sequence[Any], count: int) -> Any:
        return self._stack([*trees, *[trees[-1]] * (count - len(trees))])


@functools.lru_cache(maxsize=4)
def get_network(model: COSNet, size: tuple[int, int], batch_size: int | None = None) -> Network:
    """`Network`, the same one for the same arguments, so that it is compiled once."""
    return Network(model, size, batch_size)
