"""The inference engine: every frame of a video is encoded once, references are kept, predictions are fused."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cosnet_jax.checkpoints import store as checkpoints
from cosnet_jax.config import inference_size
from cosnet_jax.errors import InputError
from cosnet_jax.inference.network import FUSIONS, Encoded, Network, get_network
from cosnet_jax.inference.read_ahead import read_ahead
from cosnet_jax.inference.references import choose_references, most_references, uses
from cosnet_jax.inference.resize import match_orientation, resize_output
from cosnet_jax.models.build import build_model
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.video.video import ArrayVideo, Video


class InferenceOptions(NamedTuple):
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

    def __init__(
        self,
        model: COSNet,
        variables: dict[str, Any],
        size: tuple[int, int],
        setting: InferenceOptions = InferenceOptions(),
        batch_size: int | None = None,
    ):
        """Prepares the network; it is compiled at the first frame.

        Args:
          model: the network.
          variables: its parameters and statistics.
          size: (height, width) of the network's input; frames are resized to it and predictions back. It is turned for
            frames whose longer side is the other one: (257, 449) is (449, 257) for a tall video.
          setting: how frames are compared; a model without co-attention takes N = 0.
          batch_size: frames that the network takes at a time, split over as many devices as divide it; None suits the
            devices there are. The maps do not depend on it.

        Raises:
          InputError: for an unknown sampling or fusion, or a negative N.
        """
        self.variables, self.setting = variables, self._checked(setting)
        self._model, self._size, self._batch_size = model, tuple(size), batch_size

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        size: tuple[int, int] | None = None,
        num_references: int = 5,
        sampling: str = "uniform",
        fusion: str = "summary",
        batch_size: int | None = None,
    ) -> Segmenter:
        """Builds a segmenter from what training (or `convert`) wrote.

        Args:
          path: a checkpoint, a folder of them, or a training's working directory.
          size: (height, width) of the network's input; None takes the configuration's.
          num_references, sampling, fusion: see `InferenceOptions`.
          batch_size: frames that the network takes at a time.

        Returns:
          A segmenter.

        Raises:
          InputError: if there is no such checkpoint.
        """
        variables, config = checkpoints.load(path)
        setting = InferenceOptions(num_references, sampling, fusion)
        return cls(build_model(config.model), variables, size or inference_size(config), setting, batch_size)

    @classmethod
    def pretrained(cls, **settings) -> Segmenter:
        """Builds a segmenter from the trained model in the package, `davis16_lite` (see its model card).

        Args:
          **settings: as in `from_checkpoint`: size, num_references, sampling, fusion.

        Returns:
          A segmenter.
        """
        return cls.from_checkpoint(checkpoints.PRETRAINED, **settings)

    def __call__(self, frames: Video | np.ndarray, references: Sequence[int] | None = None) -> np.ndarray:
        """Segments a whole video.

        Args:
          frames: (T, H, W, 3) uint8 RGB, or a list of T frames, or any `Video` such as `open_video` gives.
          references: indices of the frames that every frame is compared with, itself included if it is named; None
            chooses them by the setting's sampling.

        Returns:
          (T, H, W) float32: the probability of the primary object.

        Raises:
          InputError: for an empty video, a frame of another shape or type, or a reference outside the video.
        """
        return np.stack(list(self.stream(frames, references)))

    def stream(self, frames: Video | np.ndarray, references: Sequence[int] | None = None) -> Iterator[np.ndarray]:
        """As `__call__`, one (H, W) map at a time, in order, with memory that does not grow with the video."""
        if references is None:
            return (maps[0] for maps in self.stream_settings(frames, [self.setting]))
        if any(not 0 <= index < len(frames) for index in references):
            raise InputError(f"references are {list(references)}; expected frame indices from 0 to {len(frames) - 1}")
        table = np.tile(np.asarray(references, int), (len(frames), 1))
        return (maps[0] for _, maps in self._run(frames, range(len(frames)), [table], [self.setting.fusion]))

    def stream_settings(
        self, frames: Video | np.ndarray, settings: Sequence[InferenceOptions], queries: Sequence[int] | None = None
    ) -> Iterator[list[np.ndarray]]:
        """Segments a video in several ways at once, encoding each frame once.

        Args:
          frames: as in `__call__`.
          settings: the ways.
          queries: numbers of the frames to segment, ascending; None for all. References are drawn from all frames.

        Yields:
          For each of them, in order, a map (H, W) for each setting.

        Raises:
          InputError: as in `__call__`, and for an unknown setting.
        """
        queries = range(len(frames)) if queries is None else queries
        tables = [self.references(len(frames), self._checked(setting))[list(queries)] for setting in settings]
        return (maps for _, maps in self._run(frames, queries, tables, [setting.fusion for setting in settings]))

    def stream_pairs(self, frames: Video | np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As `stream`, but yields each frame (H, W, 3) with its map, so that it need not be read again."""
        table = self.references(len(frames), self.setting)
        run = self._run(frames, range(len(frames)), [table], [self.setting.fusion])
        return ((frame, maps[0]) for frame, maps in run)

    def references(self, num_frames: int, setting: InferenceOptions) -> np.ndarray:
        """The references of every frame of a video, (T, n) int, see `choose_references`."""
        count = setting.num_references if self._model.coattention != "none" else 0
        return choose_references(num_frames, count, setting.sampling, setting.seed)

    def _run(
        self, frames: Video | np.ndarray, queries: Sequence[int], tables: list[np.ndarray], fusions: list[str]
    ) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Each query frame and its maps, one for each table of references (queries, n).

        References that come long after the first frame that needs them are read at the start. All else is read in order
        and encoded in two threads that run ahead, and an encoded frame is dropped after its last use.
        """
        frames = frames if hasattr(frames, "read") else ArrayVideo(frames)
        network = get_network(self._model, match_orientation(self._size, frames.size), self._batch_size)
        first_use, last_use = uses(len(frames), queries, tables)
        needed = np.flatnonzero(last_use >= 0)
        distance = max(table.shape[1] for table in tables)  # of consecutive references: those are read in passing
        early = needed[needed - first_use[needed] > distance].tolist()
        batch_size, variables = network.batch_size, network.place(self.variables)
        rooms = [most_references(table, batch_size) for table in tables]
        size = None

        def shrunk(indices, images, known=()):
            nonlocal size
            for index, frame in zip(indices, images, strict=True):
                size = check_frame(frame, index, size).shape[:2]
                yield index, frame, None if index in known else network.resize_input(frame)

        at_start = shrunk(early, frames.read(early) if early else ())
        encoded = {index: value for index, _, value in encoded_images(network, variables, at_start)}
        read: dict[int, np.ndarray] = {}
        waiting: deque[tuple[list[np.ndarray], list[jax.Array]]] = deque()  # for the device
        in_order = read_ahead(shrunk(needed.tolist(), _in_order(frames, needed), early))
        with contextlib.closing(read_ahead(encoded_images(network, variables, in_order))) as source:
            for start in range(0, len(queries), batch_size):
                part = slice(start, start + batch_size)
                now, rows = list(queries[part]), [table[part] for table in tables]
                wanted = {*now, *np.concatenate(rows, axis=None).astype(int).tolist()}
                while not (wanted <= encoded.keys() and read.keys() >= set(now)):
                    index, read[index], value = next(source)
                    if value is not None:
                        encoded[index] = value
                maps = self._probabilities(network, variables, encoded, now, rows, fusions, rooms)
                waiting.append(([read[index] for index in now], maps))
                encoded = {index: value for index, value in encoded.items() if last_use[index] > now[-1]}
                read = {index: frame for index, frame in read.items() if index > now[-1]}
                if len(waiting) > 1:  # the device has the next frames to work on while these are used
                    yield from fetched(*waiting.popleft())
            next(source, None)  # so that a file with more frames than it should have says so
        yield from fetched(*waiting.popleft())

    def _probabilities(
        self,
        network: Network,
        variables: Any,
        encoded: dict[int, Encoded],
        queries: list[int],
        rows: list[np.ndarray],
        fusions: list[str],
        rooms: list[int],
    ) -> list[jax.Array]:
        """The probabilities (batch_size, *size) of queries for each table of references; see `Network.segment`."""
        ways = zip(rows, fusions, rooms, strict=True)
        return [network.segment(variables, encoded, queries, *way) for way in ways]

    @staticmethod
    def _checked(setting: InferenceOptions) -> InferenceOptions:
        if setting.fusion not in FUSIONS:
            raise InputError(f"inference.fusion is {setting.fusion!r}; expected one of {', '.join(FUSIONS)}")
        choose_references(2, setting.num_references, setting.sampling, setting.seed)
        return setting


def encoded_images(network: Network, variables: Any, images: Generator[tuple]) -> Iterator[tuple]:
    """Replaces the images of (index, frame, image) by what the encoder makes of them, in batches; None stays."""
    with contextlib.closing(images):
        while block := list(itertools.islice(images, network.batch_size)):
            new = [image for *_, image in block if image is not None]
            values = network.encode(variables, new) if new else iter(())
            for index, frame, image in block:
                yield index, frame, None if image is None else next(values)


def check_frame(frame: np.ndarray, index: int, size: tuple[int, int] | None) -> np.ndarray:
    """Returns the frame, or raises an InputError if it is not (H, W, 3) uint8 of the given size."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
        raise InputError(f"frame {index} is {frame.shape} {frame.dtype}; expected (H, W, 3) uint8")
    if size is not None and frame.shape[:2] != size:
        raise InputError(f"frame {index} is {frame.shape[:2]} pixels; expected {size} as the frames before it")
    return frame


def fetched(frames: list[np.ndarray], maps: list[jax.Array]) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Waits for the maps of frames (one batch for each setting), and yields each frame with its own, as large as it."""
    arrived = [np.asarray(batch) for batch in maps]
    for number, frame in enumerate(frames):
        yield frame, [resize_output(batch[number], frame.shape[:2]) for batch in arrived]


def _in_order(video: Video, indices: np.ndarray) -> Iterator[np.ndarray]:
    """Reads the frames of ascending indices one at a time."""
    if len(indices) == len(video):
        return iter(video)
    return (frame for index in indices.tolist() for frame in video.read([index]))
