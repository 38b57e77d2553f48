"""The inference engine: every frame of a video is encoded once, references are kept, predictions are fused."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.inference.frames import ArrayFrames, Frames
from cosnet_jax.inference.read_ahead import read_ahead
from cosnet_jax.inference.references import choose_references
from cosnet_jax.inference.resize import resize_antialiased
from cosnet_jax.models import cosnet
from cosnet_jax.models.cosnet import COSNet, flatten
from cosnet_jax.models.layers import resize_bilinear
from cosnet_jax.training import checkpoints
from cosnet_jax.training.state import make_model

FUSIONS = ("prediction", *cosnet.FUSIONS)


class Setting(NamedTuple):
    """How the frames of a video are compared.

    Attributes:
      num_references: N; 0 takes the encoder's own prediction.
      sampling: see `choose_references`.
      fusion: "prediction" averages the references' predictions; the others are of `COSNet.attend`: "summary" averages
        their attention summaries (Eq. 13), "group" and "group_released" attend to all of them at once.
      seed: of random sampling.
    """

    num_references: int = 5
    sampling: str = "uniform"
    fusion: str = "summary"
    seed: int = 0


class Segmenter:
    """Finds the primary object of a video.

    Example:
      segmenter = Segmenter.from_checkpoint("work/davis16")
      for probability in segmenter.stream(frames): ...

    Attributes:
      variables: the network's parameters and statistics; they may be exchanged between videos.
      setting: of `__call__` and `stream`.
    """

    def __init__(self, model: COSNet, variables: dict[str, Any], size: tuple[int, int], setting: Setting = Setting()):
        """Prepares the network; it is compiled at the first frame.

        Args:
          model: the network.
          variables: its parameters and statistics.
          size: (height, width) of the network's input; frames are resized to it and predictions back.
          setting: how frames are compared; a model without co-attention takes N = 0.

        Raises:
          InputError: for an unknown sampling or fusion, or a negative N.
        """
        self.variables, self.setting = variables, self._checked(setting)
        self._has_coattention = model.coattention != "none"
        size = tuple(size)

        @jax.jit
        def encode(variables, images):
            """(1, H, W, 3) -> the frame's features (1, h, w, c) and what it is compared by (1, j, d)."""
            features = model.apply(variables, images, method="encode")
            return features, model.apply(variables, features, method="keys") if self._has_coattention else None

        @functools.partial(jax.jit, static_argnames="fusion")
        def segment(variables, features, reference_features, reference_keys, fusion):
            """(1, h, w, c) of the query and lists of N references -> (1, *size) probabilities."""
            if not reference_features:
                return jax.nn.sigmoid(model.apply(variables, features, size, method="side_logits"))
            values = jnp.stack([flatten(reference) for reference in reference_features], axis=1)  # (1, N, j, c)
            keys = jnp.stack(reference_keys, axis=1)  # (1, N, j, d)
            if fusion == "prediction":  # each reference has a query of its own: (N, 1, j, c)
                features = jnp.repeat(features, keys.shape[1], axis=0)
                keys, values = jnp.moveaxis(keys, 1, 0), jnp.moveaxis(values, 1, 0)
                fusion = "summary"
            summary = model.apply(variables, features, keys, values, fusion, method="attend")
            logits = model.apply(variables, features, summary, size, method="decode")
            return jax.nn.sigmoid(logits).mean(axis=0, keepdims=True)

        self._encode, self._segment = encode, segment
        self._shrink = jax.jit(lambda frame: resize_antialiased(frame[None], size))
        self._enlarge = jax.jit(lambda probability, target: resize_bilinear(probability, target)[0], static_argnums=1)

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
          num_references, sampling, fusion: see `Setting`.

        Returns:
          A segmenter.

        Raises:
          InputError: if there is no such checkpoint.
        """
        variables, config = checkpoints.load(path)
        setting = Setting(num_references, sampling, fusion)
        return cls(make_model(config.model), variables, size or config.size, setting)

    def __call__(self, frames: Frames | np.ndarray, references: Sequence[int] | None = None) -> np.ndarray:
        """Segments a whole video.

        Args:
          frames: (T, H, W, 3) uint8 RGB, or a list of T frames, or any `Frames` such as `open_video` gives.
          references: indices of the frames that every frame is compared with, itself included if it is named; None
            chooses them by the setting's sampling.

        Returns:
          (T, H, W) float32: the probability of the primary object.

        Raises:
          InputError: for an empty video, a frame of another shape or type, or a reference outside the video.
        """
        return np.stack(list(self.stream(frames, references)))

    def stream(self, frames: Frames | np.ndarray, references: Sequence[int] | None = None) -> Iterator[np.ndarray]:
        """As `__call__`, one (H, W) map at a time, in order, with memory that does not grow with the video."""
        if references is None:
            return (maps[0] for maps in self.stream_settings(frames, [self.setting]))
        if any(not 0 <= index < len(frames) for index in references):
            raise InputError(f"references are {list(references)}; expected frame indices from 0 to {len(frames) - 1}")
        table = np.tile(np.asarray(references, int), (len(frames), 1))
        return (maps[0] for _, maps in self._run(frames, [table], [self.setting.fusion]))

    def stream_settings(self, frames: Frames | np.ndarray, settings: Sequence[Setting]) -> Iterator[list[np.ndarray]]:
        """Segments a video in several ways at once, encoding each frame once.

        Args:
          frames: as in `__call__`.
          settings: the ways.

        Yields:
          For each frame, in order, a map (H, W) for each setting.

        Raises:
          InputError: as in `__call__`, and for an unknown setting.
        """
        tables = [self.references(len(frames), setting) for setting in map(self._checked, settings)]
        return (maps for _, maps in self._run(frames, tables, [setting.fusion for setting in settings]))

    def stream_pairs(self, frames: Frames | np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As `stream`, but yields each frame (H, W, 3) with its map, so that it need not be read again."""
        table = self.references(len(frames), self.setting)
        return ((frame, maps[0]) for frame, maps in self._run(frames, [table], [self.setting.fusion]))

    def references(self, num_frames: int, setting: Setting) -> np.ndarray:
        """The references of every frame of a video, (T, n) int, see `choose_references`."""
        count = setting.num_references if self._has_coattention else 0
        return choose_references(num_frames, count, setting.sampling, setting.seed)

    def _run(
        self, frames: Frames | np.ndarray, tables: list[np.ndarray], fusions: list[str]
    ) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Each frame and its maps, one for each table of references.

        References that come long after the first frame that needs them are read at the start. All else is read in order
        (in a thread, ahead of the network), and an encoded frame is dropped after its last use.
        """
        frames = frames if hasattr(frames, "read") else ArrayFrames(frames)
        first_use, last_use = uses(len(frames), tables)
        distance = max(table.shape[1] for table in tables)  # of consecutive references: those are read in passing
        early = np.flatnonzero(np.arange(len(frames)) - first_use > distance).tolist()
        encoded: dict[int, tuple[jax.Array, jax.Array | None]] = {}
        size = None
        for index, frame in zip(early, frames.read(early) if early else (), strict=True):
            size = check_frame(frame, index, size).shape[:2]
            encoded[index] = self._encode(self.variables, self._shrink(frame))

        def shrunk():
            nonlocal size
            for index, frame in enumerate(frames):
                size = check_frame(frame, index, size).shape[:2]
                yield index, frame, None if index in early else self._shrink(frame)

        waiting: deque[tuple[np.ndarray, list[jax.Array]]] = deque()  # for the device
        read: dict[int, np.ndarray] = {}
        with contextlib.closing(read_ahead(shrunk())) as source:
            for query in range(len(frames)):
                rows = [table[query] for table in tables]
                needed = {query, *np.concatenate(rows).astype(int).tolist()}
                while query not in read or not needed <= encoded.keys():
                    index, frame, small = next(source)
                    read[index] = frame
                    if small is not None:
                        encoded[index] = self._encode(self.variables, small)
                probabilities = self._probabilities(encoded, query, rows, fusions)
                maps = [self._enlarge(probability, size) for probability in probabilities]
                encoded = {index: value for index, value in encoded.items() if last_use[index] > query}
                waiting.append((read.pop(query), maps))
                if len(waiting) > 1:  # the device has the next frame to work on while this one is used
                    yield fetched(*waiting.popleft())
            next(source, None)  # so that a file with more frames than it should have says so
        yield fetched(*waiting.popleft())

    def _probabilities(
        self, encoded: dict[int, tuple], query: int, rows: Sequence[np.ndarray], fusions: Sequence[str]
    ) -> list[jax.Array]:
        """The probabilities (1, *size) of a query for each row of references, by the encoded frames' numbers."""
        probabilities = []
        for row, fusion in zip(rows, fusions, strict=True):
            values, keys = [encoded[index][0] for index in row], [encoded[index][1] for index in row]
            probabilities.append(self._segment(self.variables, encoded[query][0], values, keys, fusion=fusion))
        return probabilities

    @staticmethod
    def _checked(setting: Setting) -> Setting:
        if setting.fusion not in FUSIONS:
            raise InputError(f"inference.fusion is {setting.fusion!r}; expected one of {', '.join(FUSIONS)}")
        choose_references(2, setting.num_references, setting.sampling, setting.seed)
        return setting


def check_frame(frame: np.ndarray, index: int, size: tuple[int, int] | None) -> np.ndarray:
    """Returns the frame, or raises an InputError if it is not (H, W, 3) uint8 of the given size."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
        raise InputError(f"frame {index} is {frame.shape} {frame.dtype}; expected (H, W, 3) uint8")
    if size is not None and frame.shape[:2] != size:
        raise InputError(f"frame {index} is {frame.shape[:2]} pixels; expected {size} as the frames before it")
    return frame


def uses(num_frames: int, tables: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last frame that each frame is needed for, itself included: two arrays (T,) int."""
    first, last = np.arange(num_frames), np.arange(num_frames)
    for table in tables:
        for query, row in enumerate(table):
            first[row], last[row] = np.minimum(first[row], query), np.maximum(last[row], query)
    return first, last


def fetched(frame: np.ndarray, maps: list[jax.Array]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Waits for the maps and copies them from the device."""
    return frame, [np.asarray(probability) for probability in maps]
