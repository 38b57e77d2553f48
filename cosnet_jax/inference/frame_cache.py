"""The frames of a video that is being segmented: each is read and encoded once, and kept until its last use."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.inference.network import Encoded, Network
from cosnet_jax.inference.references import first_and_last_uses
from cosnet_jax.inference.resize import resize_frame
from cosnet_jax.threads import read_ahead
from cosnet_jax.video.video import Video


def encoded_batches(
    video: Video, queries: Sequence[int], tables: Sequence[np.ndarray], network: Network, variables: Any
) -> Generator[tuple[slice, list[np.ndarray], dict[int, Encoded]]]:
    """Reads and encodes a video in two threads that work ahead, and collects what the batches of queries need.

    References that come long after their first query are read at the start; all other frames are read in order.

    Args:
      video: the video.
      queries, tables: as in `first_and_last_uses`.
      network: encodes the frames.
      variables: from `Network.replicate`.

    Yields:
      For each batch its part of the queries, their frames (H, W, 3), and encoded frames by number, among them the
      queries and their references; the latter until the next batch.

    Raises:
      InputError: for a frame that is not (H, W, 3) uint8, or not of the first frame's size.
    """
    first, last = first_and_last_uses(len(video), queries, tables)
    needed = np.flatnonzero(last >= 0).tolist()
    distance = max(table.shape[1] for table in tables)  # consecutive references come at most so many frames later
    early = [index for index in needed if index - first[index] > distance]
    frames: dict[int, np.ndarray] = {}
    images = _resize(network.size, early, video.read(early) if early else ())
    encoded = {index: value for index, _, value in _encode(network, variables, images)}
    some = (frame for index in needed for frame in video.read([index]))
    in_order = iter(video) if len(needed) == len(video) else some
    ahead = read_ahead(_resize(network.size, needed, in_order, encoded=set(early)))
    with contextlib.closing(read_ahead(_encode(network, variables, ahead))) as source:
        for start in range(0, len(queries), network.batch_size):
            part = slice(start, start + network.batch_size)
            batch = list(queries[part])
            references = np.concatenate([table[part] for table in tables], axis=None)
            while not (frames.keys() >= set(batch) and encoded.keys() >= {*batch, *references.tolist()}):
                index, frames[index], value = next(source)
                if value is not None:
                    encoded[index] = value
            yield part, [frames[index] for index in batch], encoded
            encoded = {index: value for index, value in encoded.items() if last[index] > batch[-1]}
            frames = {index: frame for index, frame in frames.items() if index > batch[-1]}
        next(source, None)  # a file with more frames than it should have raises its error


def _resize(
    size: tuple[int, int], indices: Iterable[int], frames: Iterable[np.ndarray], encoded: Iterable[int] = ()
) -> Generator[tuple]:
    """Yields (index, frame, image for the encoder); the image is None for a frame that is encoded already."""
    expected = None
    for index, frame in zip(indices, frames, strict=True):
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
            raise InputError(f"frame {index} is {frame.shape} {frame.dtype}; expected (H, W, 3) uint8")
        expected = expected or frame.shape[:2]
        if frame.shape[:2] != expected:
            raise InputError(f"frame {index} is {frame.shape[:2]}; expected {expected} as the frames before it")
        yield index, frame, None if index in encoded else resize_frame(frame, size)


def _encode(network: Network, variables: Any, images: Generator[tuple]) -> Generator[tuple]:
    """Replaces the images of (index, frame, image) by what the encoder makes of them, in batches; None stays."""
    with contextlib.closing(images):
        while block := list(itertools.islice(images, network.batch_size)):
            new = [image for *_, image in block if image is not None]
            values = network.encode(variables, new) if new else iter(())
            for index, frame, image in block:
                yield index, frame, None if image is None else next(values)
