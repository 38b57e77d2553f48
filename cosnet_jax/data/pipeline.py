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

STREAMS = {"still": 0, "video": 1, "still pair": 2}  # independent streams of random numbers


def make_batches(
    kind: str, config: Any, size: tuple[int, int], batch_size: int, seed: int, process: tuple[int, int] = (0, 1)
) -> grain.DatasetIterator:
    """Makes endless batches of augmented still images, or of pairs of frames of one video, with their masks.

    Each set is shuffled again in every epoch. The sets are interleaved in proportion to weight x number of annotated
    frames. Each of these is the first of a pair once in an epoch; the second is drawn. A share of the pairs,
    `config.still_pairs`, are two variations of one still image. Batch k depends only on the seed, on k and on the
    data, not on the numbers of threads and processes.

    Args:
      kind: "still" or "video".
      config: the `data` section of the configuration.
      size: (height, width) of the images.
      batch_size: examples in a batch over all processes.
      seed: seed of order and augmentation.
      process: index of this process, and the number of processes that share a batch.

    Returns:
      An iterator over {"image": uint8 (n, h, w, 3), "mask": (n, h, w)}, n = batch_size / number of processes; of pairs
      (n, 2, h, w, 3) and (n, 2, h, w). Masks are uint8 {0, 1}; float16 in [0, 1] if a set has soft masks. It has
      `get_state`, `set_state` and `close`.

    Raises:
      InputError: a set cannot be opened, a weight is wrong, or the processes cannot share a batch equally.
    """
    process_index, process_count = process
    paired, with_stills = kind == "video", kind == "still" or config.still_pairs > 0
    if batch_size % process_count:
        raise InputError(f"batch size {batch_size} cannot be shared by {process_count} processes: expected a multiple")
    videos = open_train_sequences(config) if paired else {}
    stills = open_stills(config) if with_stills else []
    soft = any(sequence.soft for sequences in (stills, *videos.values()) for sequence in sequences)
    augmentation = AugmentConfig.read(config.augment)

    def load(index: int, element: tuple[Sequence, PySequence[int], int]) -> dict[str, np.ndarray]:
        sequence, annotated, position = element
        rng = np.random.default_rng((seed, STREAMS[kind], index))
        frames = [annotated[position]] + ([draw_partner(annotated, position, rng)] if paired else [])
        varied = [augment(*sequence.frame_and_target(i), size, augmentation, rng) for i in frames]
        image, mask = map(np.stack, zip(*varied, strict=True)) if paired else varied[0]
        return {"image": image, "mask": mask.astype(np.float16) if soft else mask}

    if with_stills:
        images = {still_set.name: [(still_set, (i,), 0) for i in range(len(still_set))] for still_set in stills}
        elements = _mix("still", images, config, seed, STREAMS["still pair" if paired else "still"])
    if paired:
        firsts = {
            name: [(sequence, sequence.annotated, i) for sequence in sequences for i in range(len(sequence.annotated))]
            for name, sequences in videos.items()
        }
        pairs, share = _mix("video", firsts, config, seed, STREAMS["video"]), config.still_pairs
        elements = grain.MapDataset.mix([pairs, elements], [1 - share, share]) if with_stills else pairs
    share_of_process = elements.map_with_index(load)[process_index::process_count]
    batches = share_of_process.batch(batch_size // process_count, drop_remainder=True)
    threads = config.threads or usable_cores()
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 2)
    return iter(batches.to_iter_dataset(options))


def draw_partner(annotated: PySequence[int], position: int, rng: np.random.Generator) -> int:
    """Draws the second frame of a pair: any other annotated frame of the sequence, all equally likely.

    `annotated` are the indices of the annotated frames, `position` that of the first frame among them. Returns the
    first frame itself if no other is annotated.
    """
    if len(annotated) == 1:
        return annotated[0]
    drawn = int(rng.integers(0, len(annotated) - 1))
    return annotated[drawn + (drawn >= position)]  # skips the first frame


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
