"""What a training takes of each device's memory, known before the first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cosnet_jax import parallel
from cosnet_jax.training.state import TrainState

MIB = 2**20


def size_of(tree: Any) -> int:
    """Returns the bytes of all arrays, or shapes of arrays, of a tree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def plan_memory(state: TrainState, steps: dict[str, Callable], batches: dict[str, dict[str, np.ndarray]]) -> str:
    """Compiles the steps and says what each device will hold.

    Args:
      state: of the training, from `parallel.replicate`.
      steps: by kind, from `parallel.parallelise`.
      batches: by kind, one of this process.

    Returns:
      One line, in MiB. Beside parameters and optimiser a step takes activations, gradients and copies.
    """
    working = {kind: parallel.working_memory(step, state, batches[kind]) for kind, step in steps.items()}
    parts = [
        f"parameters {size_of(state.variables) / MIB:,.0f} MiB",
        f"optimiser {size_of(state.opt_state) / MIB:,.0f} MiB",
        *(f"a {kind} step {taken / MIB:,.0f} MiB more" for kind, taken in working.items()),
    ]
    return f"memory of each device: {', '.join(parts)}"
