"""Arrays (n, h, w, c) of ours and tensors (n, c, h, w) of PyTorch, for tests that skip where it is not installed."""

from __future__ import annotations

import numpy as np

try:
    import torch
except ImportError:
    torch = None


def to_torch(x):
    return torch.from_numpy(np.moveaxis(np.asarray(x), -1, 1).copy())


def from_torch(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


def normal(seed, *shape):
    """Normally distributed float32 numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
