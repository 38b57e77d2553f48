"""Rematerialisation: the backward pass computes a block's activations again instead of keeping them."""

from __future__ import annotations

import flax.linen as nn
import jax

from cosnet_jax.models.batch_norm import STATISTICS


def rematerialise(module: type[nn.Module], train: int | None = None) -> type[nn.Module]:
    """Makes a module keep only its inputs, and the batch statistics inside it, for the backward pass.

    The statistics are small, and computing them again would synchronise the devices again.

    Args:
      module: a class of modules.
      train: index of the argument `train` in `__call__`, `self` included; None if there is none.

    Returns:
      A class of modules with the same values, gradients and parameter names.
    """
    policy = jax.checkpoint_policies.save_only_these_names(STATISTICS)
    return nn.remat(module, policy=policy, static_argnums=() if train is None else (train,))
