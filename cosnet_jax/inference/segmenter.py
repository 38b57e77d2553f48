"""The inference engine: each frame of a video is encoded once and compared with its references."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from os import PathLike
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.checkpoints.load import SHIPPED_MODEL, load_checkpoint
from cosnet_jax.config import MIN_SIZE, inference_size
from cosnet_jax.errors import InputError
from cosnet_jax.inference.frame_cache import FrameCache
from cosnet_jax.inference.network import get_network
from cosnet_jax.inference.options import InferenceOptions
from cosnet_jax.inference.references import choose_references, plan_references
from cosnet_jax.inference.resize import check_shrinking, match_orientation, resize_output
from cosnet_jax.inference.smoothing import Maps, smooth
from cosnet_jax.models.build import build_model
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.video.video import Video, as_video

AnyVideo: TypeAlias = Video | np.ndarray | Sequence[np.ndarray] | str | PathLike[str]


class Segmented(NamedTuple):
    """A segmented frame.

    Attributes:
      number: its number in the video.
      frame: (H, W, 3) uint8 RGB.
      probabilities: for each way of segmenting, (H, W) float32, the probability of the primary object.
    """

    number: int
    frame: np.ndarray
    probabilities: list[np.ndarray]


class Segmenter:
    """Finds the primary object of a video.

    Example:
      segmenter = Segmenter.from_pretrained("davis16_lite")
      for probability in segmenter.stream("clip.mp4"): ...

    Attributes:
      options: how `__call__` and `stream` compare frames.
      size: (height, width) of the network's input.
      matmul_precision: of products and convolutions on accelerators.
    """

    def __init__(
        self,
        model: COSNet,
        variables: dict[str, Any],
        size: tuple[int, int],
        options: InferenceOptions | None = None,
        batch_size: int | None = None,
        matmul_precision: str = "default",
    ):
        """Prepares the network; it is compiled at the first frame.

        Args:
          model: the network.
          variables: its parameters and statistics.
          size: (height, width) of the network's input. Frames are resized to it and predictions back. The two are
            swapped for frames of the other orientation: (257, 449) is (449, 257) for a tall video.
          options: how frames are compared; None takes the defaults. A model without co-attention takes N = 0.
          batch_size: frames that the network takes at a time, split over as many devices as divide it; None suits the
            devices there are. The maps do not depend on it.
          matmul_precision: of products and convolutions: "float32", or "default" for what accelerators do by themselves
            (TF32 on NVIDIA, bfloat16 on TPU). CPUs compute in float32 in any case.

        Raises:
          InputError: the size is too small.
        """
        if len(size) != 2 or min(size) < MIN_SIZE:
            raise InputError(f"size is {tuple(size)}; expected (height, width) of at least {MIN_SIZE} pixels")
        self.options, self.size = options or InferenceOptions(), (size[0], size[1])
        self.matmul_precision = matmul_precision
        self._model, self._variables, self._batch_size = model, variables, batch_size

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | PathLike[str] = SHIPPED_MODEL,
        *,
        size: tuple[int, int] | None = None,
        num_references: int | None = None,
        sampling: str | None = None,
        fusion: str | None = None,
        seed: int | None = None,
        temporal_smoothing: float | None = None,
        batch_size: int | None = None,
    ) -> Segmenter:
        """Builds a segmenter from a trained network.

        Args:
          name_or_path: "davis16_lite", the model in the package; or a checkpoint, the working directory of a training,
            the output of `convert`, or a weights file (.npz).
          size: (height, width) of the network's input.
          num_references, sampling, fusion, seed, temporal_smoothing: see `InferenceOptions`. Of these and `size`, None
            takes what the checkpoint's own configuration says.
          batch_size: see `Segmenter`.

        Returns:
          A segmenter.

        Raises:
          InputError: there is no such checkpoint, or an option is wrong.
        """
        variables, config = load_checkpoint(name_or_path)
        return cls.from_config(
            config, variables, size=size, num_references=num_references, sampling=sampling, fusion=fusion, seed=seed,
            temporal_smoothing=temporal_smoothing, batch_size=batch_size,
        )  # fmt: skip

    @classmethod
    def from_config(
        cls,
        config: ConfigDict,
        variables: dict[str, Any],
        *,
        size: tuple[int, int] | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> Segmenter:
        """Builds the segmenter of a configuration; arguments as those of `from_pretrained`.

        A stored configuration that knows no `matmul_precision` stands for the default.
        """
        chosen = InferenceOptions.from_config(config, **options)
        precision = config.get("matmul_precision", "default")
        return cls(build_model(config.model), variables, size or inference_size(config), chosen, batch_size, precision)

    def __call__(self, video: AnyVideo, references: Sequence[int] | None = None) -> np.ndarray:
        """Segments a whole video.

        Args:
          video: path of a video file or of a folder of frames; (T, H, W, 3) uint8 RGB; a list of T frames; or any
            `Video`.
          references: numbers of the frames that every frame is compared with, itself included if it is named; None
            chooses them as the options say.

        Returns:
          (T, H, W) float32: the probability of the primary object.

        Raises:
          InputError: the video is empty or unreadable, its frames are far larger than the network's input, a frame has
            another shape or type, or a reference is not in the video.
        """
        return np.stack(list(self.stream(video, references)))

    def stream(self, video: AnyVideo, references: Sequence[int] | None = None) -> Iterator[np.ndarray]:
        """As `__call__`, one (H, W) map at a time, in order, with memory that does not grow with the video."""
        return (segmented.probabilities[0] for segmented in self.segment(video, references=references))

    def segment(
        self,
        video: AnyVideo,
        ways: Sequence[InferenceOptions] | None = None,
        *,
        queries: Sequence[int] | None = None,
        references: Sequence[int] | None = None,
        variables: dict[str, Any] | None = None,
    ) -> Generator[Segmented]:
        """Segments frames of a video in one or several ways, and encodes each frame once.

        Args:
          video: as in `__call__`.
          ways: how frames are compared; None for `self.options` alone.
          queries: numbers of the frames to segment, ascending; None for all. References come from all frames, while
            smoothing along time averages the maps of these alone.
          references: as in `__call__`; they replace the choice of every way.
          variables: parameters and statistics to use instead of the segmenter's own, e.g. during a training.

        Returns:
          An iterator over the segmented frames, in order. Memory does not grow with the video.

        Raises:
          InputError: as in `__call__`.
        """
        video, ways = as_video(video), [self.options] if ways is None else list(ways)
        queries = range(len(video)) if queries is None else queries
        if references is None:
            chosen = [self.references(len(video), way)[list(queries)] for way in ways]
        elif all(0 <= index < len(video) for index in references):
            chosen = [np.tile(np.asarray(references, int), (len(queries), 1))] * len(ways)
        else:
            raise InputError(f"references are {list(references)}; expected frame numbers from 0 to {len(video) - 1}")
        check_shrinking(video.size, match_orientation(self.size, video.size))
        maps = self._run(video, ways, queries, chosen, self._variables if variables is None else variables)
        deviations = [way.temporal_smoothing for way in ways]
        return _resize(smooth(maps, deviations) if any(deviations) else maps)

    def references(self, num_frames: int, options: InferenceOptions | None = None) -> np.ndarray:
        """Returns the references of every frame of a video, (T, n) int, see `choose_references`."""
        options = options or self.options
        count = options.num_references if self._model.coattention != "none" else 0
        return choose_references(num_frames, count, options.sampling, options.seed)

    def _run(
        self,
        video: Video,
        ways: Sequence[InferenceOptions],
        queries: Sequence[int],
        reference_indices: list[np.ndarray],
        variables: dict[str, Any],
    ) -> Generator[Maps]:
        """Yields the number, the frame and the maps of each query, the maps of the network's size."""
        size = match_orientation(self.size, video.size)
        network = get_network(self._model, size, self._batch_size, self.matmul_precision)
        plan = plan_references(len(video), queries, reference_indices, network.batch_size)
        variables = network.replicate(variables)
        max_references = plan.max_references
        pending: deque[tuple[list[int], list[np.ndarray], list[jax.Array]]] = deque()  # the device works on these
        with contextlib.closing(FrameCache(video, plan, network, variables)) as cache:
            for batch, references in plan.batches():
                cache.fetch(batch, references)
                maps = [
                    network.segment(variables, cache.encoded, batch, rows, way.fusion, most)
                    for way, rows, most in zip(ways, references, max_references, strict=True)
                ]
                pending.append((batch, [cache.frames[index] for index in batch], maps))
                cache.forget(batch[-1])
                if len(pending) > 1:  # the device has the next frames to work on while these are used
                    yield from _finish(*pending.popleft())
            cache.finish()
        while pending:
            yield from _finish(*pending.popleft())


def _finish(indices: list[int], frames: list[np.ndarray], maps: list[jax.Array]) -> Iterator[Maps]:
    """Waits for the maps of a batch (one array for each way)."""
    arrived = [np.asarray(batch) for batch in maps]
    for position, (index, frame) in enumerate(zip(indices, frames, strict=True)):
        yield index, frame, [batch[position] for batch in arrived]


def _resize(segmented: Generator[Maps]) -> Generator[Segmented]:
    """Resizes the maps to their frames."""
    with contextlib.closing(segmented):
        for number, frame, maps in segmented:
            yield Segmented(number, frame, [resize_output(map_, frame.shape[:2]) for map_ in maps])
