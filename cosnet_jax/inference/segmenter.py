"""The inference engine: every frame of a video is encoded once, references are kept, predictions are fused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.inference.references import choose_references
from cosnet_jax.inference.resize import resize_antialiased
from cosnet_jax.models.cosnet import COSNet, flatten
from cosnet_jax.models.layers import resize_bilinear
from cosnet_jax.training import checkpoints
from cosnet_jax.training.state import make_model

FUSIONS = ("summary", "prediction")


class Frames(Protocol):
    """A video: its length and its frames, (H, W, 3) uint8 RGB, by index. An array (T, H, W, 3) is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


class Segmenter:
    """Finds the primary object of a video.

    Example:
      segmenter = Segmenter.from_checkpoint("work/davis16")
      for probability in segmenter.stream(frames): ...
    """

    def __init__(
        self,
        model: COSNet,
        variables: dict[str, Any],
        size: tuple[int, int],
        num_references: int = 5,
        sampling: str = "uniform",
        fusion: str = "summary",
        seed: int = 0,
    ):
        """Prepares the network; it is compiled at the first frame.

        Args:
          model: the network.
          variables: its parameters and statistics.
          size: (height, width) of the network's input; frames are resized to it and predictions back.
          num_references: N; 0 takes the encoder's own prediction.
          sampling: see `choose_references`.
          fusion: "summary" averages the references' attention summaries (Eq. 13), "prediction" their predictions.
          seed: of random sampling.

        Raises:
          InputError: for an unknown sampling or fusion, or a negative N.
        """
        if fusion not in FUSIONS:
            raise InputError(f"inference.fusion is {fusion!r}; expected one of {', '.join(FUSIONS)}")
        choose_references(2, num_references, sampling, seed)
        self.num_references = num_references if model.coattention != "none" else 0
        self.sampling, self.fusion, self.seed = sampling, fusion, seed
        self.variables = variables
        size = tuple(size)

        @jax.jit
        def encode(variables, images):
            features = model.apply(variables, images, method="encode")
            keys = model.apply(variables, features, method="keys") if self.num_references else features
            return features, keys

        @jax.jit
        def segment(variables, features, reference_features, reference_keys):
            """(1, h, w, c) of the query, lists of N references -> (1, *size) probabilities."""
            if not reference_features:
                return jax.nn.sigmoid(model.apply(variables, features, size, method="side_logits"))
            values = jnp.stack([flatten(reference) for reference in reference_features], axis=1)  # (1, N, j, c)
            keys = jnp.stack(reference_keys, axis=1)  # (1, N, j, d)
            if fusion == "prediction":
                count = keys.shape[1]
                features = jnp.repeat(features, count, axis=0)
                keys, values = jnp.moveaxis(keys, 1, 0), jnp.moveaxis(values, 1, 0)
            summary = model.apply(variables, features, keys, values, method="attend")
            logits = model.apply(variables, features, summary, size, method="decode")
            return jax.nn.sigmoid(logits).mean(axis=0, keepdims=True)

        self._encode, self._segment = encode, segment
        self._shrink = jax.jit(lambda image: resize_antialiased(image[None], size))
        self._enlarge = jax.jit(lambda map_, target: resize_bilinear(map_, target)[0], static_argnums=1)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        size: tuple[int, int] | None = None,
        num_references: int = 5,
        sampling: str = "uniform",
        fusion: str = "summary",
    ) -> Segmenter:
        """Builds a segmenter from what training (or `convert`) wrote.

        Args:
          path: a checkpoint, a folder of them, or a training's working directory.
          size: (height, width) of the network's input; None takes the size of training.
          num_references, sampling, fusion: as in `Segmenter`.

        Returns:
          A segmenter.

        Raises:
          InputError: if there is no such checkpoint.
        """
        variables, config = checkpoints.load(path)
        return cls(make_model(config.model), variables, size or config.size, num_references, sampling, fusion)

    def __call__(self, frames: Frames, references: list[int] | None = None) -> np.ndarray:
        """Segments a whole video.

        Args:
          frames: (T, H, W, 3) uint8 RGB, or any `Frames`.
          references: indices of the frames that every frame is compared with, itself included if it is named; None
            chooses them by `sampling`.

        Returns:
          (T, H, W) float32: the probability of the primary object.

        Raises:
          InputError: for an empty video, a frame of another shape or type, or a reference outside the video.
        """
        return np.stack(list(self.stream(frames, references)))

    def stream(self, frames: Frames, references: list[int] | None = None) -> Iterator[np.ndarray]:
        """As `__call__`, one (H, W) map at a time, in order, with memory that does not grow with the video."""
        count = len(frames)
        if count == 0:
            raise InputError("the video has no frames")
        if references is None:
            table = choose_references(count, self.num_references, self.sampling, self.seed)
        else:
            if any(not 0 <= index < count for index in references):
                raise InputError(f"references are {list(references)}; expected frame indices from 0 to {count - 1}")
            table = np.tile(np.asarray(references, int), (count, 1))
        last_use = np.arange(count)
        for query, row in enumerate(table):
            last_use[row] = np.maximum(last_use[row], query)
        encoded: dict[int, tuple[jax.Array, jax.Array]] = {}
        size = None
        for query, row in enumerate(table):
            for index in (query, *row):
                if index not in encoded:
                    frame = check_frame(frames[index], index, size)
                    size = frame.shape[:2]
                    encoded[index] = self._encode(self.variables, self._shrink(frame))
            chosen = [encoded[index] for index in row]
            probability = self._segment(
                self.variables, encoded[query][0], [features for features, _ in chosen], [keys for _, keys in chosen]
            )
            yield np.asarray(self._enlarge(probability, size))
            encoded = {index: value for index, value in encoded.items() if last_use[index] > query}


def check_frame(frame: np.ndarray, index: int, size: tuple[int, int] | None) -> np.ndarray:
    """Returns the frame, or raises an InputError if it is not (H, W, 3) uint8 of the given size."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
        raise InputError(f"frame {index} is {frame.shape} {frame.dtype}; expected (H, W, 3) uint8")
    if size is not None and frame.shape[:2] != size:
        raise InputError(f"frame {index} is {frame.shape[:2]} pixels; expected {size} as the frames before it")
    return frame
