"""The frames of a video that is being segmented: each is read and encoded once, and kept until its last use."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.inference.network import Encoded, Network
from cosnet_jax.inference.read_ahead import read_ahead
from cosnet_jax.inference.references import ReferencePlan
from cosnet_jax.video.video import Video


class FrameCache:
    """The frames that the next queries need. Reading and encoding run ahead in two threads.

    References that come long after their first query are read at the start; all other frames are read in order.

    Args:
      video: the video.
      plan: which frames are needed, and when.
      network: encodes the frames.
      variables: from `Network.replicate`.

    Attributes:
      frames: query frames (H, W, 3) by number, until they are segmented.
      encoded: encoded frames by number, until their last use.

    Raises:
      InputError: for a frame that is not (H, W, 3) uint8, or not of the first frame's size.
    """

    def __init__(self, video: Video, plan: ReferencePlan, network: Network, variables: Any):
        self.frames: dict[int, np.ndarray] = {}
        self.encoded: dict[int, Encoded] = {}
        self._last_use, self._size = plan.last_use, None
        early, needed = plan.early, plan.in_order
        if early:
            images = self._resize(network, early, video.read(early))
            self.encoded = {index: value for index, _, value in _encode(network, variables, images)}
        frames = iter(video) if len(needed) == len(video) else _read_each(video, needed)
        in_order = read_ahead(self._resize(network, needed, frames, encoded=set(early)))
        self._source = read_ahead(_encode(network, variables, in_order))

    def fetch(self, queries: Sequence[int], reference_indices: Sequence[np.ndarray]) -> None:
        """Waits until the queries and their references are in the cache."""
        needed = {*queries, *np.concatenate(reference_indices, axis=None).astype(int).tolist()}
        while not (needed <= self.encoded.keys() and self.frames.keys() >= set(queries)):
            index, self.frames[index], value = next(self._source)
            if value is not None:
                self.encoded[index] = value

    def forget(self, last_query: int) -> None:
        """Drops what no query after `last_query` needs."""
        self.encoded = {index: value for index, value in self.encoded.items() if self._last_use[index] > last_query}
        self.frames = {index: frame for index, frame in self.frames.items() if index > last_query}

    def finish(self) -> None:
        """Reads to the end, so that a file with more frames than it should have raises its error."""
        next(self._source, None)

    def close(self) -> None:
        """Ends the threads."""
        self._source.close()

    def _resize(
        self,
        network: Network,
        indices: Iterable[int],
        frames: Iterable[np.ndarray],
        encoded: Iterable[int] = (),
    ) -> Generator[tuple]:
        """Yields (index, frame, image for the encoder); the image is None for a frame that is encoded already."""
        for index, frame in zip(indices, frames, strict=True):
            if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
                raise InputError(f"frame {index} is {frame.shape} {frame.dtype}; expected (H, W, 3) uint8")
            self._size = self._size or frame.shape[:2]
            if frame.shape[:2] != self._size:
                raise InputError(f"frame {index} is {frame.shape[:2]}; expected {self._size} as the frames before it")
            yield index, frame, None if index in encoded else network.resize_input(frame)


def _read_each(video: Video, indices: Iterable[int]) -> Iterator[np.ndarray]:
    for index in indices:
        yield from video.read([index])


def _encode(network: Network, variables: Any, images: Generator[tuple]) -> Generator[tuple]:
    """Replaces the images of (index, frame, image) by what the encoder makes of them, in batches; None stays."""
    with contextlib.closing(images):
        while block := list(itertools.islice(images, network.batch_size)):
            new = [image for *_, image in block if image is not None]
            values = network.encode(variables, new) if new else iter(())
            for index, frame, image in block:
                yield index, frame, None if image is None else next(values)
