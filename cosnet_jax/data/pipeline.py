"""Endless batches for training: deterministic, divided among processes, resumable at any batch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence as PySequence
from typing import Any

import grain
import numpy as np
from absl import flags

from cosnet_jax.data.augment import augment
from cosnet_jax.data.config import AugmentConfig
from cosnet_jax.data.sequences import Sequence, open_stills, open_train_sequences
from cosnet_jax.errors import InputError
from cosnet_jax.threads import usable_cores

STILL_STREAM, VIDEO_STREAM, PAIR_STREAM = range(3)  # independent streams of random numbers
BATCHES_AHEAD = 2


def still_batches(
    config: Any, size: tuple[int, int], batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
) -> Batches:
    """Makes endless batches of augmented still images with their masks.

    Each set is shuffled again in every epoch. The sets are interleaved in proportion to weight x number of images.
    Batch k depends only on the seed, on k and on the data.

    Args:
      config: the `data` section of the configuration.
      size: (height, width) of the images.
      batch_size: examples in a batch over all processes.
      seed: seed of order and augmentation.
      process_index: index of this process.
      process_count: number of processes that share a batch.

    Returns:
      An iterator over {"image": uint8 (n, h, w, 3), "mask": uint8 {0, 1} (n, h, w)}, n = batch_size / process_count,
      with `get_state` and `set_state`.

    Raises:
      InputError: a set cannot be opened, a weight is wrong, or `batch_size` is not a multiple of `process_count`.
    """
    augmentation = AugmentConfig.read(config.augment)

    def load(index: int, element: tuple[Sequence, int]) -> dict[str, np.ndarray]:
        still_set, i = element
        rng = np.random.default_rng((seed, STILL_STREAM, index))
        image, mask = augment(*still_set.frame_and_mask(i), size, augmentation, rng)
        return {"image": image, "mask": mask}

    examples = _stills(config, seed, STILL_STREAM).map_with_index(load)
    return _batches(examples, batch_size, process_index, process_count, config)


def video_batches(
    config: Any, size: tuple[int, int], batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
) -> Batches:
    """Makes endless batches of pairs of frames of one sequence, each frame augmented separately.

    The sets of `config.train_videos` are interleaved in proportion to weight x number of annotated frames. In an epoch
    of a set every annotated frame is the first of a pair once; the second is drawn. A share of the pairs,
    `config.still_pairs`, are two variations of one image of `config.train_stills`.

    Args:
      config: the `data` section of the configuration.
      size: (height, width) of the images.
      batch_size: pairs in a batch over all processes.
      seed: seed of order, pairs and augmentation.
      process_index: index of this process.
      process_count: number of processes that share a batch.

    Returns:
      An iterator over {"image": uint8 (n, 2, h, w, 3), "mask": uint8 {0, 1} (n, 2, h, w)},
      n = batch_size / process_count, with `get_state` and `set_state`.

    Raises:
      InputError: the dataset cannot be opened, or `batch_size` is not a multiple of `process_count`.
    """
    augmentation = AugmentConfig.read(config.augment)

    def load(index: int, element: tuple[Sequence, PySequence[int], int]) -> dict[str, np.ndarray]:
        sequence, annotated, position = element
        rng = np.random.default_rng((seed, VIDEO_STREAM, index))
        pair = annotated[position], draw_partner(annotated, position, rng)
        frames = [augment(*sequence.frame_and_mask(i), size, augmentation, rng) for i in pair]
        return {"image": np.stack([image for image, _ in frames]), "mask": np.stack([mask for _, mask in frames])}

    return _batches(_pairs(config, seed).map_with_index(load), batch_size, process_index, process_count, config)


def draw_partner(annotated: PySequence[int], position: int, rng: np.random.Generator) -> int:
    """Draws the second frame of a pair: any other annotated frame of the sequence, all equally likely.

    Args:
      annotated: indices of the sequence's annotated frames.
      position: position in `annotated` of the pair's first frame.
      rng: source of randomness.

    Returns:
      The index of the second frame. It is the first frame itself if no other is annotated.
    """
    if len(annotated) == 1:
        return annotated[0]
    drawn = int(rng.integers(0, len(annotated) - 1))
    return annotated[drawn + (drawn >= position)]  # skips the first frame


def _pairs(config: Any, seed: int) -> grain.MapDataset:
    """Returns endless (sequence, annotated frames, position of the pair's first frame among them)."""
    sets = open_train_sequences(config)
    firsts = {
        name: [(sequence, sequence.annotated, i) for sequence in sequences for i in range(len(sequence.annotated))]
        for name, sequences in sets.items()
    }
    weights = set_weights("video_weights", config.video_weights, list(firsts))
    pairs = _mix(firsts, weights, seed, VIDEO_STREAM)
    if pairs is None:
        raise InputError("no videos to train on: expected config.data.train_videos to name a set of weight > 0")
    if config.still_pairs:
        stills = _stills(config, seed, PAIR_STREAM).map(lambda element: (element[0], (element[1],), 0))
        pairs = grain.MapDataset.mix([pairs, stills], [1 - config.still_pairs, config.still_pairs])
    return pairs


def _stills(config: Any, seed: int, stream: int) -> grain.MapDataset:
    """Returns endless (set, index of the image): the sets are interleaved by weight x size and shuffled separately."""
    sets = open_stills(config)
    images = {still_set.name: [(still_set, i) for i in range(len(still_set))] for still_set in sets}
    stills = _mix(images, set_weights("still_weights", config.still_weights, list(images)), seed, stream)
    if stills is None:
        raise InputError("no still images to train on: expected config.data.train_stills to name a set of weight > 0")
    return stills


def _mix(sets: dict[str, list], weights: dict[str, float], seed: int, stream: int) -> grain.MapDataset | None:
    """Returns elements of sets endlessly: interleaved by weight x size, shuffled separately; None if all weigh 0."""
    orders, proportions = [], []
    for number, (name, elements) in enumerate(sets.items()):
        if weights[name] * len(elements) > 0:
            order = grain.MapDataset.range(len(elements)).shuffle(_derive(seed, stream, number)).repeat()
            orders.append(order.map(lambda i, elements=elements: elements[i]))
            proportions.append(weights[name] * len(elements))
    return grain.MapDataset.mix(orders, proportions) if orders else None


def set_weights(setting: str, text: str, names: list[str]) -> dict[str, float]:
    """Parses the sampling weights of sets.

    Args:
      setting: name of the setting in `config.data`, for error messages.
      text: for example "duts=2,ccp_persons=0.5"; sets that are not named have weight 1.
      names: names of all sets.

    Returns:
      The weight of every set.

    Raises:
      InputError: a name is not in `names`, or a weight is not a number >= 0.
    """
    weights = dict.fromkeys(names, 1.0)
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, _, number = (part.strip() for part in item.partition("="))
        if name not in weights:
            raise InputError(f"config.data.{setting} names {name!r}: expected one of {', '.join(names)}")
        try:
            weights[name] = float(number)
        except ValueError:
            weights[name] = -1.0
        if not 0 <= weights[name] < float("inf"):
            raise InputError(f"config.data.{setting} says {item!r}: expected NAME=NUMBER, the number at least 0")
    return weights


def _derive(*numbers: int) -> int:
    """Derives a 32-bit seed from several numbers, so that no two orders are related."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class Batches:
    """An endless iterator over this process's share of every global batch.

    Each thread makes whole batches, so the position is a batch number. It says nothing of threads, worker processes or
    the number of training processes: all of these may be others when a training goes on.
    """

    def __init__(self, batches: grain.MapDataset, threads: int, workers: int):
        """Starts at batch 0.

        Args:
          batches: endless.
          threads: that make batches, in each worker process if there are any; 0 for one per core.
          workers: worker processes; 0 makes the batches in threads of this process.
        """
        threads = threads or max(1, usable_cores() // max(workers, 1))
        self._batches, self._workers = batches, workers
        self._options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + BATCHES_AHEAD)
        self._position = 0
        self._iterator: grain.DatasetIterator | None = None

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if self._iterator is None:
            dataset = self._batches[self._position :].to_iter_dataset(self._options)
            if self._workers:
                if not flags.FLAGS.is_parsed():  # grain's workers read flags
                    flags.FLAGS.mark_as_parsed()
                options = grain.MultiprocessingOptions(num_workers=self._workers)
                dataset = dataset.mp_prefetch(options, _follow_the_training)
            self._iterator = iter(dataset)
        try:
            batch = next(self._iterator)
        except RuntimeError as error:
            if not self._workers:
                raise
            raise InputError(f"batch {self._position}: a process that makes batches failed ({error})") from error
        self._position += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """Returns the position, as JSON can store it."""
        return {"next_index": self._position}

    def set_state(self, state: dict[str, int]) -> None:
        """Goes to a position that `get_state` returned."""
        self.close()
        self._position = state["next_index"]

    def close(self) -> None:
        """Ends the worker processes."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None


def _follow_the_training(*_: int) -> None:
    """Makes a worker process leave signals to the training's process, and end when that ends, however it ends.

    A scheduler may send SIGTERM to all processes; the training needs batches until it has saved its state.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def _batches(
    examples: grain.MapDataset, batch_size: int, process_index: int, process_count: int, config: Any
) -> Batches:
    if batch_size % process_count:
        raise InputError(f"batch size {batch_size} cannot be shared by {process_count} processes: expected a multiple")
    share = examples[process_index::process_count].batch(batch_size // process_count, drop_remainder=True)
    return Batches(share, config.threads, config.workers)
