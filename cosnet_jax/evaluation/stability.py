"""Temporal instability T."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def temporal_instability(first_truth: np.ndarray, predictions: Sequence[np.ndarray]) -> float:
    raise NotImplementedError("T is not there yet")
