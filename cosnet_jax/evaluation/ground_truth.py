"""The ground truth of a sequence, and which of its frames a benchmark evaluates."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol as Interface

import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.protocols import Protocol, evaluated_frames


class GroundTruth(Interface):
    """What the evaluation needs of a sequence; `cosnet_jax.data.sequence.Sequence` has it.

    Attributes:
      name: the sequence's name, also the name of its folder of predicted masks.
      frame_names: frame names without suffix, in order.
      annotated: indices of the frames that have a ground truth, ascending.
    """

    @property
    def name(self) -> str: ...

    @property
    def frame_names(self) -> tuple[str, ...]: ...

    @property
    def annotated(self) -> tuple[int, ...]: ...

    def mask(self, i: int) -> np.ndarray | None:
        """Returns the ground truth of frame `i`: (h, w) bool, or None where the frame is not annotated."""


def read_ground_truth(sequence: GroundTruth, protocol: Protocol) -> tuple[dict[int, np.ndarray], list[int]]:
    """Reads the ground truth of a sequence.

    Args:
      sequence: the sequence.
      protocol: the benchmark's rules.

    Returns:
      Frame index -> mask (h, w) bool, for the annotated frames; and the indices of the evaluated frames, ascending.

    Raises:
      InputError: no frame is evaluated, or one lacks the annotation that the protocol needs.
    """
    masks = ((i, sequence.mask(i)) for i in sequence.annotated)
    truths = {i: mask for i, mask in masks if mask is not None}
    with named(sequence):
        return truths, evaluated_frames(protocol, truths, len(sequence.frame_names))


@contextlib.contextmanager
def named(sequence: GroundTruth) -> Iterator[None]:
    """Puts a sequence's name before the message of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"sequence {sequence.name!r}: {error}") from error
