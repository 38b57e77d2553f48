"""Mean, recall and decay of a measure over the frames of a sequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosnet_jax.errors import InputError

RECALL_THRESHOLD = 0.5
STATISTICS = ("mean", "recall", "decay")


def mean_recall_decay(values: Sequence[float]) -> dict[str, float]:
    """Computes mean, recall and decay of a measure over a sequence (DAVIS-2016; Perazzi et al., CVPR 2016).

    Decay is the mean of the first quarter minus the mean of the last quarter. As in the official toolkit, the limits of
    the quarters are rounded to whole frames (halves up), and neighbouring quarters share one frame.

    Args:
      values: n >= 1 measurements in [0, 1], in the order of the frames.

    Returns:
      "mean"; "recall", the fraction of values > 0.5; "decay", positive where the measure falls over time.

    Raises:
      InputError: there are no values.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise InputError(f"statistics need at least one value, not an array of shape {array.shape}")
    # np.round would round an exact half to the even neighbour; 1e-10 makes it round up.
    limits = np.round(np.linspace(1, len(array), 5) + 1e-10).astype(int) - 1
    first = array[limits[0] : limits[1] + 1]
    last = array[limits[3] : limits[4] + 1]
    return {
        "mean": float(array.mean()),
        "recall": float((array > RECALL_THRESHOLD).mean()),
        "decay": float(first.mean() - last.mean()),
    }


def mean_over_sequences(per_sequence: Sequence[dict[str, float]]) -> dict[str, float]:
    """Averages "mean", "recall" and "decay" of several sequences; every sequence has the same weight.

    Raises:
      InputError: there are no sequences.
    """
    if not per_sequence:
        raise InputError("statistics need at least one sequence")
    return {name: float(np.mean([statistics[name] for statistics in per_sequence])) for name in STATISTICS}
