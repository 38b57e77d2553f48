"""Validation during training: mean J over a few frames of every sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from cosnet_jax import parallel
from cosnet_jax.data.sequences import evenly_spaced
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.inference.segmenter import Segmenter


def validate(
    segmenter: Segmenter, variables: dict[str, Any], sequences: Sequence[Any], frames_per_sequence: int
) -> dict[str, float]:
    """Scores a network on a few frames of each sequence. Of several processes each scores its share.

    Args:
      segmenter: of the network.
      variables: the network's present parameters and statistics.
      sequences: see `data.sequences.Sequence`.
      frames_per_sequence: how many evenly spaced frames; references come from among them; 0 for all.

    Returns:
      {"J": with the segmenter's references, "J_single_frame": with N = 0}. Each is the mean over the annotated frames
      of a sequence, then over sequences.
    """
    ways = [segmenter.options, dataclasses.replace(segmenter.options, num_references=0)]
    per_sequence = []
    for sequence in parallel.share_of(sequences):
        frames = evenly_spaced(sequence, frames_per_sequence)
        scores = [
            [float(jaccard(probability > 0.5, truth)) for probability in maps]
            for index, _, maps in segmenter.segment(frames, ways, variables=variables)
            if (truth := frames.mask(index)) is not None
        ]
        per_sequence.append(np.mean(scores, axis=0))
    with_references, alone = parallel.gather_arrays(np.reshape(per_sequence, (-1, 2))).mean(axis=0)
    return {"J": float(with_references), "J_single_frame": float(alone)}
