"""Validation during training: mean J over a few frames of every sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cosnet_jax.data.sequences import evenly_spaced
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.inference.segmenter import Segmenter


def validate(segmenter: Segmenter, sequences: Sequence[Any], frames_per_sequence: int) -> dict[str, float]:
    """Scores a network on a few frames of each sequence.

    Args:
      segmenter: with the network's present variables.
      sequences: see `data.sequences.Sequence`.
      frames_per_sequence: evenly spaced, references are drawn from among them; 0 for all.

    Returns:
      {"J": with the segmenter's references, "J_single_frame": with N = 0}, each the mean over frames that have a ground
      truth, then over sequences.
    """
    settings = [segmenter.setting, segmenter.setting._replace(num_references=0)]
    per_sequence = []
    for sequence in sequences:
        frames = evenly_spaced(sequence, frames_per_sequence)
        scores = []
        for index, maps in enumerate(segmenter.stream_settings(frames, settings)):
            truth = frames.mask(index)
            if truth is not None:
                scores.append([float(jaccard(probability > 0.5, truth)) for probability in maps])
        per_sequence.append(np.mean(scores, axis=0))
    together, alone = np.mean(per_sequence, axis=0)
    return {"J": float(together), "J_single_frame": float(alone)}
