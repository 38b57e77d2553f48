"""Region similarity J: intersection over union of two masks."""

from __future__ import annotations

import numpy as np

from cosnet_jax.errors import InputError


def jaccard(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Computes the region similarity J of Perazzi et al. (CVPR 2016): the Jaccard index of two masks.

    Args:
      prediction: (h, w) bool or {0, 1}.
      truth: (h, w) bool or {0, 1}.

    Returns:
      Intersection over union in [0, 1]; 1 where both masks are empty.

    Raises:
      InputError: the masks are not two images of one size.
    """
    prediction, truth = as_masks(prediction, truth)
    union = np.count_nonzero(prediction | truth)
    return np.count_nonzero(prediction & truth) / union if union else 1.0


def as_masks(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Checks that two masks are images of one size and converts them to bool arrays; bool input is not copied."""
    prediction, truth = np.asarray(prediction, dtype=bool), np.asarray(truth, dtype=bool)
    if prediction.ndim != 2 or prediction.shape != truth.shape:
        raise InputError(f"masks must be two (h, w) arrays of one size, not {prediction.shape} and {truth.shape}")
    return prediction, truth
