"""Endless batches for training: deterministic, divided among processes, resumable at any batch."""

from __future__ import annotations

from collections.abc import Sequence as PySequence
from typing import Any

import grain
import numpy as np

from cosnet_jax.data.augment import augment
from cosnet_jax.data.config import AugmentConfig, split_names
from cosnet_jax.data.sequence import Sequence
from cosnet_jax.data.sequences import open_stills, open_train_sequences
from cosnet_jax.errors import InputError
from cosnet_jax.threads import usable_cores

STILL_STREAM, VIDEO_STREAM, PAIR_STREAM = range(3)  # independent streams of random numbers
BATCHES_AHEAD = 2


def still_batches(
    config: Any, size: tuple[int, int], batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
) -> grain.DatasetIterator:
    """Makes endless batches of augmented still images with their masks.

    Each set is shuffled again in every epoch. The sets are interleaved in proportion to weight x number of images.
    Batch k depends only on the seed, on k and on the data, not on the numbers of threads and processes.

    Args:
      config: the `data` section of the configuration.
      size: (height, width) of the images.
      batch_size: examples in a batch over all processes.
      seed: seed of order and augmentation.
      process_index: index of this process.
      process_count: number of processes that share a batch.

    Returns:
      An iterator over {"image": uint8 (n, h, w, 3), "mask": (n, h, w)}, n = batch_size / process_count, with
      `get_state`, `set_state` and `close`. Masks are uint8 {0, 1}; float16 in [0, 1] if a set has soft masks.

    Raises:
      InputError: a set cannot be opened, a weight is wrong, or `batch_size` is not a multiple of `process_count`.
    """
    sets = open_stills(config)
    augmentation, soft = AugmentConfig.read(config.augment), any(still_set.soft for still_set in sets)

    def load(index: int, element: tuple[Sequence, int]) -> dict[str, np.ndarray]:
        still_set, i = element
        rng = np.random.default_rng((seed, STILL_STREAM, index))
        image, mask = augment(*still_set.frame_and_target(i), size, augmentation, rng)
        return {"image": image, "mask": mask.astype(np.float16) if soft else mask}

    examples = _mix_stills(sets, config, seed, STILL_STREAM).map_with_index(load)
    return _batches(examples, batch_size, process_index, process_count, config.threads)


def video_batches(
    config: Any, size: tuple[int, int], batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
) -> grain.DatasetIterator:
    """Makes endless batches of pairs of frames of one sequence, each frame augmented separately.

    The sets of `config.train_videos` are interleaved in proportion to weight x number of annotated frames. In an epoch
    of a set every annotated frame is the first of a pair once; the second is drawn. A share of the pairs,
    `config.still_pairs`, are two variations of one image of `config.train_stills`.

    Args:
      As in `still_batches`, with pairs as examples.

    Returns:
      An iterator over {"image": uint8 (n, 2, h, w, 3), "mask": (n, 2, h, w)}, as in `still_batches`.

    Raises:
      InputError: as in `still_batches`.
    """
    sets = open_train_sequences(config)
    stills = open_stills(config) if config.still_pairs else []
    augmentation = AugmentConfig.read(config.augment)
    soft = any(sequence.soft for sequences in (stills, *sets.values()) for sequence in sequences)

    def load(index: int, element: tuple[Sequence, PySequence[int], int]) -> dict[str, np.ndarray]:
        sequence, annotated, position = element
        rng = np.random.default_rng((seed, VIDEO_STREAM, index))
        pair = annotated[position], draw_partner(annotated, position, rng)
        frames = [augment(*sequence.frame_and_target(i), size, augmentation, rng) for i in pair]
        image, mask = (np.stack(arrays) for arrays in zip(*frames, strict=True))
        return {"image": image, "mask": mask.astype(np.float16) if soft else mask}

    firsts = {
        name: [(sequence, sequence.annotated, i) for sequence in sequences for i in range(len(sequence.annotated))]
        for name, sequences in sets.items()
    }
    pairs = _mix("video", firsts, config, seed, VIDEO_STREAM)
    if stills:
        variations = _mix_stills(stills, config, seed, PAIR_STREAM).map(lambda element: (element[0], (element[1],), 0))
        pairs = grain.MapDataset.mix([pairs, variations], [1 - config.still_pairs, config.still_pairs])
    return _batches(pairs.map_with_index(load), batch_size, process_index, process_count, config.threads)


def draw_partner(annotated: PySequence[int], position: int, rng: np.random.Generator) -> int:
    """Draws the second frame of a pair: any other annotated frame of the sequence, all equally likely.

    `annotated` are the indices of the annotated frames, `position` that of the first frame among them. Returns the
    first frame itself if no other is annotated.
    """
    if len(annotated) == 1:
        return annotated[0]
    drawn = int(rng.integers(0, len(annotated) - 1))
    return annotated[drawn + (drawn >= position)]  # skips the first frame


def _mix_stills(sets: list[Sequence], config: Any, seed: int, stream: int) -> grain.MapDataset:
    """Returns endless (set, index of the image)."""
    images = {still_set.name: [(still_set, i) for i in range(len(still_set))] for still_set in sets}
    return _mix("still", images, config, seed, stream)


def _mix(kind: str, sets: dict[str, list], config: Any, seed: int, stream: int) -> grain.MapDataset:
    """Returns elements of sets endlessly: interleaved by weight x size, shuffled separately."""
    weights = set_weights(f"{kind}_weights", config[f"{kind}_weights"], list(sets))
    orders, proportions = [], []
    for number, (name, elements) in enumerate(sets.items()):
        if weights[name] * len(elements) > 0:
            shuffle_seed = int(np.random.SeedSequence((seed, stream, number)).generate_state(1)[0])
            order = grain.MapDataset.range(len(elements)).shuffle(shuffle_seed).repeat()
            orders.append(order.map(lambda i, elements=elements: elements[i]))
            proportions.append(weights[name] * len(elements))
    if not orders:
        raise InputError(f"nothing to train on: expected config.data.train_{kind}s to name a set of weight > 0")
    return grain.MapDataset.mix(orders, proportions)


def set_weights(setting: str, text: str, names: list[str]) -> dict[str, float]:
    """Parses the sampling weights of the sets in `names`: "duts=2,ccp_persons=0.5"; sets not named have weight 1.

    Raises:
      InputError: a name is not in `names`, or a weight is not a number >= 0. It calls the text config.data.`setting`.
    """
    weights = dict.fromkeys(names, 1.0)
    for item in split_names(text):
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


def _batches(
    examples: grain.MapDataset, batch_size: int, process_index: int, process_count: int, threads: int
) -> grain.DatasetIterator:
    """Returns an iterator over this process's share of every global batch. Its state is the number of the batch."""
    if batch_size % process_count:
        raise InputError(f"batch size {batch_size} cannot be shared by {process_count} processes: expected a multiple")
    share = examples[process_index::process_count].batch(batch_size // process_count, drop_remainder=True)
    threads = threads or usable_cores()
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + BATCHES_AHEAD)
    return iter(share.to_iter_dataset(options))
