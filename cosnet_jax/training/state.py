"""The state that training carries from step to step."""

from __future__ import annotations

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes: a plain tree of arrays.

    Attributes:
      step: () int32, steps done.
      params: trainable parameters.
      batch_stats: running statistics of batch normalisation.
      opt_state: the optimiser's state.
      average: an exponential average of the parameters (`optimizer.ema`), or {}.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that validation and export take: the average of the parameters where there is one."""
        return {"params": self.average or self.params, "batch_stats": self.batch_stats}


def init_state(variables: dict[str, Any], optimizer: optax.GradientTransformation, ema: float = 0.0) -> TrainState:
    """Returns the state before the first step; `ema` as in `config.optimizer`."""
    params = variables["params"]
    average = jax.tree.map(jnp.array, params) if ema else {}
    return TrainState(jnp.zeros((), jnp.int32), params, variables["batch_stats"], optimizer.init(params), average)
