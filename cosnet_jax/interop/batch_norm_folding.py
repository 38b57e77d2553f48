"""Folds the batch normalisation of EfficientNet-Lite's state dicts into kernels and biases."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

EPSILON = 1e-3
# Name of a convolution -> name of the batch normalisation after it.
NORMALISATIONS = (
    (r"_conv_stem", "_bn0"),
    (r"_conv_head", "_bn1"),
    (r"(_blocks\.\d+\.)_expand_conv", r"\1_bn0"),
    (r"(_blocks\.\d+\.)_depthwise_conv", r"\1_bn1"),
    (r"(_blocks\.\d+\.)_project_conv", r"\1_bn2"),
)


def fold_batch_norm(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Folds the normalisation by the running statistics after each convolution into the convolution.

    Args:
      state_dict: name -> array, the names those of EfficientNet-Lite in PyTorch (`_conv_stem.weight`, `_bn0.weight`).

    Returns:
      A new state dict, in which these convolutions have a bias. A convolution whose normalisation is incomplete or has
      another number of channels stays as it is, as do all other arrays.
    """
    folded = dict(state_dict)
    for name, kernel in state_dict.items():
        convolution = name.removesuffix(".weight")
        for pattern, target in NORMALISATIONS:
            if name.endswith(".weight") and (match := re.fullmatch(pattern, convolution)):
                norm = match.expand(target)
                arrays = [state_dict.get(f"{norm}.{key}") for key in ("weight", "bias", "running_mean", "running_var")]
                if any(array is None or array.shape != kernel.shape[:1] for array in arrays):
                    continue
                scale, bias, mean, var = arrays
                factor = scale / np.sqrt(var + EPSILON)
                folded[name] = kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))
                folded[f"{convolution}.bias"] = bias - mean * factor
                for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                    folded.pop(f"{norm}.{key}", None)
    return folded
