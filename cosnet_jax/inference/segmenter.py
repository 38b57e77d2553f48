"""The inference engine: each frame of a video is encoded once and compared with its references."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Iterator, Sequence
from os import PathLike
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.checkpoints.load import SHIPPED_MODEL, load_checkpoint
from cosnet_jax.errors import InputError
from cosnet_jax.inference.frame_cache import encoded_batches
from cosnet_jax.inference.guided_filter import enlarge
from cosnet_jax.inference.network import get_network
from cosnet_jax.inference.online import OnlineSegmenter
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.inference.references import choose_references
from cosnet_jax.inference.resize import match_orientation
from cosnet_jax.inference.smoothing import Maps, smooth
from cosnet_jax.models.build import build_model
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.video.video import Video, as_video

AnyVideo: TypeAlias = Video | np.ndarray | Sequence[np.ndarray] | str | PathLike[str]


class Prediction(NamedTuple):
    """A segmented frame: its number, the frame (H, W, 3) uint8, and for each of the options a map (H, W) float32."""

    number: int
    frame: np.ndarray
    probabilities: list[np.ndarray]


class Segmenter:
    """Finds the primary object of a video.

    Example:
      segmenter = Segmenter.from_pretrained("davis16_lite")
      for probability in segmenter.stream("clip.mp4"): ...

    Attributes:
      model: the network.
      variables: its parameters and statistics.
      config: an `InferenceConfig`.
      matmul_precision: of products and convolutions on accelerators, see `with_matmul_precision`.
    """

    def __init__(
        self,
        model: COSNet,
        variables: dict[str, Any],
        config: InferenceConfig | ConfigDict | None = None,
        *,
        batch_size: int | None = None,
        matmul_precision: str = "default",
        **settings: Any,
    ):
        """Prepares the network; it is compiled at the first frame.

        Args:
          model, variables: the network. Without co-attention it takes N = 0.
          config: how frames are compared; None: the defaults.
          batch_size: frames that the network takes at a time; None suits the devices. The maps do not depend on it.
          matmul_precision: "default" or "float32".
          **settings: of `InferenceConfig`, which replace the configuration's, such as size=(257, 449). The size has no
            default.

        Raises:
          InputError: a setting is wrong, or the size is missing.
        """
        self.model, self.variables, self.matmul_precision = model, variables, matmul_precision
        self.config = dataclasses.replace(InferenceConfig.read(config or {}), **settings)
        if self.config.size is None:
            raise InputError("size is None; expected (height, width) of the network's input")
        self._batch_size = batch_size

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str] = SHIPPED_MODEL, **settings: Any) -> Segmenter:
        """Builds a segmenter from a trained network.

        Args:
          name_or_path: "davis16_lite", the model in the package; or a checkpoint, the working directory of a training,
            the output of `convert`, or a weights file.
          **settings: `batch_size`, or settings of `InferenceConfig`; what is left out or None is as the checkpoint's
            configuration says.

        Raises:
          InputError: there is no such checkpoint, or a setting is wrong.
        """
        variables, config = load_checkpoint(name_or_path)
        return cls.from_config(config, variables, **settings)

    @classmethod
    def from_config(cls, config: ConfigDict, variables: dict[str, Any], **settings: Any) -> Segmenter:
        """Builds the segmenter of a whole configuration; `settings` as in `from_pretrained`."""
        inference = InferenceConfig.read(config.inference)
        given = {name: value for name, value in settings.items() if value is not None}
        stored = {"size": inference.size or config.size, "matmul_precision": config.get("matmul_precision", "default")}
        return cls(build_model(config.model), variables, inference, **stored | given)

    def __call__(self, video: AnyVideo, references: Sequence[int] | None = None) -> np.ndarray:
        """Segments a whole video.

        Args:
          video: path of a video file or of a folder of frames; (T, H, W, 3) uint8 RGB; a list of T frames; or any
            `Video`.
          references: numbers of the frames that every frame is compared with, itself included if it is named; None
            chooses them as the configuration says.

        Returns:
          (T, H, W) float32: the probability of the primary object.

        Raises:
          InputError: the video is empty or unreadable, a frame has another shape or type, or a reference is not in the
            video.
        """
        return np.stack(list(self.stream(video, references)))

    def stream(self, video: AnyVideo, references: Sequence[int] | None = None) -> Iterator[np.ndarray]:
        """As `__call__`, one (H, W) map at a time, in order, with memory that does not grow with the video."""
        return (prediction.probabilities[0] for prediction in self.predict(video, references=references))

    def predict(
        self,
        video: AnyVideo,
        options_list: Sequence[InferenceConfig] | None = None,
        *,
        queries: Sequence[int] | None = None,
        references: Sequence[int] | None = None,
        variables: dict[str, Any] | None = None,
    ) -> Generator[Prediction]:
        """Segments frames of a video with one or several options, and encodes each frame once.

        Args:
          video: as in `__call__`.
          options_list: how frames are compared; None for `self.config` alone. All are of its size.
          queries: numbers of the frames to segment, ascending; None for all. References come from all frames, while
            smoothing along time averages the maps of these alone.
          references: as in `__call__`, for all options.
          variables: parameters and statistics to use instead of the segmenter's own, e.g. during a training.

        Yields:
          The frames in order. Memory does not grow with the video.

        Raises:
          InputError: as in `__call__`.
        """
        video, options_list = as_video(video), [self.config] if options_list is None else list(options_list)
        queries = range(len(video)) if queries is None else queries
        if references is None:
            chosen = [self.references(len(video), options)[list(queries)] for options in options_list]
        elif all(0 <= index < len(video) for index in references):
            chosen = [np.tile(np.asarray(references, int), (len(queries), 1))] * len(options_list)
        else:
            raise InputError(f"references are {list(references)}; expected frame numbers from 0 to {len(video) - 1}")
        fusions = [options.fusion for options in options_list]
        maps = self._maps(video, fusions, queries, chosen, self.variables if variables is None else variables)
        deviations = [options.temporal_smoothing for options in options_list]
        radii = [options.edge_radius for options in options_list]
        small = smooth(maps, deviations) if any(deviations) else maps
        return (
            Prediction(number, frame, [enlarge(map_, frame, radius) for map_, radius in zip(each, radii, strict=True)])
            for number, frame, each in small
        )

    def online(self, num_references: int | None = None) -> OnlineSegmenter:
        """Returns what segments a live source frame by frame; None takes the configuration's N."""
        return OnlineSegmenter(self, self.config.num_references if num_references is None else num_references)

    def references(self, num_frames: int, options: InferenceConfig | None = None) -> np.ndarray:
        """Returns the references of every frame of a video, (T, n) int, see `choose_references`."""
        options = options or self.config
        count = options.num_references if self.model.coattention != "none" else 0
        return choose_references(num_frames, count, options.sampling, options.seed)

    def _maps(
        self,
        video: Video,
        fusions: Sequence[str],
        queries: Sequence[int],
        tables: list[np.ndarray],
        variables: dict[str, Any],
    ) -> Generator[Maps]:
        """Yields the number, the frame and the maps of each query, the maps of the network's size."""
        network = get_network(
            self.model, match_orientation(self.config.size, video.size), self._batch_size, self.matmul_precision
        )
        variables = network.replicate(variables)
        parts = [slice(start, start + network.batch_size) for start in range(0, len(queries), network.batch_size)]
        most = [max(len(np.unique(table[part])) for part in parts) for table in tables]
        with contextlib.closing(encoded_batches(video, queries, tables, network, variables)) as batches:
            for part, frames, encoded in batches:
                maps = [
                    np.asarray(network.predict(variables, encoded, queries[part], table[part], fusion, count))
                    for fusion, table, count in zip(fusions, tables, most, strict=True)
                ]
                for position, (query, frame) in enumerate(zip(queries[part], frames, strict=True)):
                    yield query, frame, [batch[position] for batch in maps]
