"""What a training takes of each device's memory, known before the first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cosnet_jax import parallel
from cosnet_jax.training.state import TrainState

MIB = 2**20


def empty_batch(kind: str, size: tuple[int, int], examples: int) -> dict[str, np.ndarray]:
    """Returns zeros of the shapes of a still or video batch, as `data.pipeline` makes them."""
    shape = (examples, 2, *size) if kind == "video" else (examples, *size)
    return {"image": np.zeros((*shape, 3), np.uint8), "mask": np.zeros(shape, np.uint8)}


def size_of(tree: Any) -> int:
    """Returns the bytes of all arrays, or shapes of arrays, of a tree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def plan_memory(state: TrainState, steps: dict[str, Callable], size: tuple[int, int], examples: int) -> str:
    """Compiles the steps and says what each device will hold.

    Args:
      state: of the training, from `parallel.replicate`.
      steps: by kind, from `parallel.parallelise`.
      size: (height, width) of the images.
      examples: in a batch of this process.

    Returns:
      One line, in MiB. Beside parameters and optimiser a step takes activations, gradients and copies.
    """
    working = {
        kind: parallel.working_memory(step, state, empty_batch(kind, size, examples)) for kind, step in steps.items()
    }
    parts = [
        f"parameters {size_of(state.variables) / MIB:,.0f} MiB",
        f"optimiser {size_of(state.opt_state) / MIB:,.0f} MiB",
        *(f"a {kind} step {taken / MIB:,.0f} MiB more" for kind, taken in working.items()),
    ]
    return f"memory of each device: {', '.join(parts)}"
