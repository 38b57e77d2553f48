"""Mean, recall and decay of a measure over the frames of a sequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosnet_jax.errors import InputError

RECALL_THRESHOLD = 0.5
STATISTICS = ("mean", "recall", "decay")


def mean_recall_decay(values: Sequence[float]) -> dict[str, float]:
    """Summarises a measure over a sequence as DAVIS-2016 does (Perazzi et al., CVPR 2016).

    Decay is the mean of the first quarter less the mean of the last; neighbouring quarters share a frame, and the
    limits are the nearest whole frames (halves up) of four equal parts, as in the official toolkit.

    Args:
      values: n >= 1 measurements in [0, 1], in the order of the frames.

    Returns:
      "mean"; "recall", the share of values > 0.5; "decay", positive where the measure falls over time.

    Raises:
      InputError: there are no values.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise InputError(f"statistics need at least one value, got an array of shape {values.shape}")
    # 1e-10 lifts the exact halves, which np.round would take to the even neighbour.
    limits = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first = values[limits[0] : limits[1] + 1]
    last = values[limits[3] : limits[4] + 1]
    return {
        "mean": float(values.mean()),
        "recall": float((values > RECALL_THRESHOLD).mean()),
        "decay": float(first.mean() - last.mean()),
    }


def mean_over_sequences(per_sequence: Sequence[dict[str, float]]) -> dict[str, float]:
    """Averages the statistics of several sequences, each with the same weight."""
    if not per_sequence:
        raise InputError("statistics need at least one sequence")
    return {name: float(np.mean([statistics[name] for statistics in per_sequence])) for name in STATISTICS}
