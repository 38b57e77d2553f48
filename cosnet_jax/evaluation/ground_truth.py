"""The ground truth of a sequence, and which of its frames a benchmark evaluates."""

from __future__ import annotations

from typing import Protocol as Interface

import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.protocols import Protocol, evaluated_frames


class GroundTruth(Interface):
    """What the evaluation needs of a sequence; `cosnet_jax.data.sequences.Sequence` has it.

    Attributes:
      name: the sequence's name, also the name of its folder of predicted masks.
      frame_names: frame names without suffix, in order.
      annotated: indices of the frames that have a ground truth, ascending.
    """

    name: str
    frame_names: tuple[str, ...]
    annotated: tuple[int, ...]

    def mask(self, i: int) -> np.ndarray | None:
        """Returns the ground truth of frame `i`: (h, w) bool, or None where the frame is not annotated."""


def read_ground_truth(sequence: GroundTruth, protocol: Protocol) -> tuple[list[np.ndarray | None], list[int]]:
    """Reads the ground truth of a sequence.

    Args:
      sequence: the sequence.
      protocol: the benchmark's rules.

    Returns:
      One (h, w) bool mask per frame, None where there is no annotation; and the indices of the evaluated frames.

    Raises:
      InputError: no frame is evaluated, or one lacks the annotation that the protocol needs.
    """
    truths: list[np.ndarray | None] = [None] * len(sequence.frame_names)
    for i in sequence.annotated:
        truths[i] = sequence.mask(i)
    try:
        return truths, evaluated_frames(protocol, truths)
    except InputError as error:
        raise InputError(f"sequence {sequence.name!r}: {error}") from error
