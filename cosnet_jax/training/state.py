"""The state that training carries from step to step."""

from __future__ import annotations

from typing import Any

import flax
import jax
import jax.numpy as jnp

from cosnet_jax.training.optimizer import Optimizer


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes: a plain tree of arrays.

    Attributes:
      step: () int32, steps done.
      params: trainable parameters.
      batch_stats: running statistics of batch normalisation.
      opt_state: the optimiser's state.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def init_state(variables: dict[str, Any], optimizer: Optimizer) -> TrainState:
    """Returns the state before the first step, from `init_variables` and `make_optimizer`."""
    params = variables["params"]
    return TrainState(jnp.zeros((), jnp.int32), params, variables["batch_stats"], optimizer.init(params))
