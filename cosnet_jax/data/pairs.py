"""Draws the two frames of a training pair from one sequence."""

from __future__ import annotations

import bisect
from collections.abc import Sequence as PySequence

import numpy as np


def draw_partner(annotated: PySequence[int], position: int, max_gap: int, rng: np.random.Generator) -> int:
    """Draws the frame that is paired with an annotated frame: any other annotated frame, equally likely.

    Args:
      annotated: numbers of the sequence's annotated frames, ascending.
      position: which of them is the first of the pair, 0 <= position < len(annotated).
      max_gap: largest distance between the two frames; 0 = any distance. Where no annotated frame is that close, the
        nearest one is taken.
      rng: source of randomness.

    Returns:
      The partner's frame number. The frame itself only where no other is annotated.
    """
    if len(annotated) == 1:
        return annotated[0]
    frame = annotated[position]
    first, last = 0, len(annotated) - 1
    if max_gap:
        first = bisect.bisect_left(annotated, frame - max_gap)
        last = bisect.bisect_right(annotated, frame + max_gap) - 1
        if first == last:
            others = annotated[max(position - 1, 0) : position] + annotated[position + 1 : position + 2]
            return min(others, key=lambda other: abs(other - frame))
    drawn = int(rng.integers(first, last))  # one fewer than there are: the frame itself is skipped
    return annotated[drawn + (drawn >= position)]
