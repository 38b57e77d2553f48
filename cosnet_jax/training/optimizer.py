"""SGD or AdamW with polynomial decay, learning-rate factors and weight decay by parameter, and P kept orthogonal."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from cosnet_jax.config import STEP_KINDS
from cosnet_jax.errors import InputError
from cosnet_jax.models.parameters import parameter_name
from cosnet_jax.training.orthogonal import nearest_orthogonal

PROJECTION = "affinity/projection"  # P of Eq. 4
# How often the release's optimiser lists a parameter: once per module around it, below the encoder. First match counts.
REPEATS = (("^encoder/body/layer.*/downsample_", 4), ("^encoder/body/layer", 3), ("^encoder/aspp/", 2), ("", 1))


class Optimizer(NamedTuple):
    """The pure functions of an optimiser.

    Attributes:
      init: params -> state.
      update: (gradients, state, params, step, kind) -> (params, state), kind in `STEP_KINDS`.
      learning_rate: step -> the rate before the groups' factors. It computes on the host if the step is an int, so it
        does not wait for the device.
      freeze: params -> the same, but frozen ones get no gradient, so that nothing is computed for it.
    """

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]
    learning_rate: Callable[[Any], Any]
    freeze: Callable[[Any], Any]


def group_factors(params: Any, groups: Sequence[tuple[str, float, float]]) -> dict[str, Any]:
    """Finds the learning-rate factor of every parameter for each kind of step.

    Args:
      params: the parameter tree.
      groups: (pattern, factor in still steps, factor in video steps) rows. A parameter belongs to the first row whose
        regular expression is found in its name. Factors of 0 and 0 freeze it.

    Returns:
      {"still": tree of floats, "video": tree of floats}.

    Raises:
      InputError: if a parameter belongs to no row, or no parameter belongs to a row. Only the pattern "" may have none:
        it stands for all other parameters, and some networks have no others.
    """
    names = [parameter_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    rows = []
    for name in names:
        row = next((index for index, (pattern, *_) in enumerate(groups) if re.search(pattern, name)), None)
        if row is None:
            raise InputError(f"optimizer.groups: no pattern matches the parameter {name!r}")
        rows.append(row)
    for index, (pattern, *_) in enumerate(groups):
        if pattern and index not in rows:
            raise InputError(f"optimizer.groups: the pattern {pattern!r} is the first to match no parameter")
    structure = jax.tree.structure(params)
    return {
        kind: jax.tree.unflatten(structure, [float(groups[row][column]) for row in rows])
        for column, kind in enumerate(STEP_KINDS, 1)
    }


def decay_factors(params: Any, weight_decay: float, no_decay: Sequence[str]) -> Any:
    """Finds the weight decay of every parameter.

    Args:
      params: the parameter tree.
      weight_decay: of all parameters but those exempted.
      no_decay: regular expressions. A parameter is exempt if one is found in its name. A pattern may match no
        parameter, as that of P does without symmetric co-attention.

    Returns:
      A tree of floats.
    """

    def factor(path, _):
        return 0.0 if any(re.search(pattern, parameter_name(path)) for pattern in no_decay) else weight_decay

    return jax.tree_util.tree_map_with_path(factor, params)


def update_counts(params: Any, repeat_updates: bool) -> Any:
    """Counts how often one step updates each parameter: a tree of integers, 1 unless `repeat_updates`."""

    def count(path, _):
        name = parameter_name(path)
        return next(times for pattern, times in REPEATS if re.search(pattern, name)) if repeat_updates else 1

    return jax.tree_util.tree_map_with_path(count, params)


def make_optimizer(config: ConfigDict, params: Any, total_steps: int) -> Optimizer:
    """Builds the optimiser.

    "sgd" is PyTorch's: it adds weight decay to the gradient, gathers the sum in the momentum, and scales that by the
    learning rate times the group's factor. Momentum and decay go on in steps whose factor is 0. With `repeat_updates` a
    step updates some parameters several times in a row, each time with the same gradient, the momentum as it has become
    and the decay of the weight as it has become.

    A step that moves P of symmetric co-attention ends with the orthogonal matrix nearest to it, see
    `orthogonal.nearest_orthogonal`.

    Args:
      config: `config.optimizer`.
      params: the parameter tree, for its names.
      total_steps: the step at which the polynomial decay reaches 0.

    Returns:
      An `Optimizer`.

    Raises:
      InputError: for an unknown name or groups that do not fit.
    """
    direction, learning_rate = _direction(config, params), _learning_rate(config, total_steps)
    factors, counts = group_factors(params, config.groups), update_counts(params, config.repeat_updates)

    def update_once(gradients, state, params, rate, kind):
        directions, state = direction.update(gradients, state, params)
        params = jax.tree.map(lambda p, d, factor: p - rate * factor * d, params, directions, factors[kind])
        return params, state

    def update(gradients, state, params, step, kind):
        rate = learning_rate(step)
        params, state = update_once(gradients, state, params, rate, kind)
        for times in range(2, max(jax.tree.leaves(counts)) + 1):

            def chosen(new, old, times=times):
                return jax.tree.map(lambda count, n, o: n if count >= times else o, counts, new, old)

            moved, (_, momentum) = update_once(gradients, state, params, rate, kind)
            params = chosen(moved, params)
            state = (state[0], optax.TraceState(chosen(momentum.trace, state[1].trace)))
        return jax.tree_util.tree_map_with_path(_constrain, params, factors[kind]), state

    def freeze(params):
        def frozen(param, *factors):
            return param if any(factors) else jax.lax.stop_gradient(param)

        return jax.tree.map(frozen, params, *factors.values())

    return Optimizer(direction.init, update, learning_rate, freeze)


def _learning_rate(config: ConfigDict, total_steps: int) -> Callable[[Any], Any]:
    """Builds the schedule: a linear warm-up, a polynomial decay to 0, and a drop on the way."""

    def learning_rate(step):
        array = jnp if isinstance(step, jax.Array) else np
        warmup = array.minimum(1.0, (step + 1) / max(config.warmup_steps, 1))
        factor = array.where(step < config.drop_from * total_steps, 1.0, config.drop_factor)
        return config.learning_rate * warmup * factor * (1 - array.minimum(step / total_steps, 1.0)) ** config.power

    return learning_rate


def _direction(config: ConfigDict, params: Any) -> optax.GradientTransformation:
    """Builds what maps gradients to the directions that a step subtracts, times learning rate and factors.

    The decay has no state, so states of optimisers with and without exempt parameters are alike.
    """
    factors = decay_factors(params, config.weight_decay, config.no_decay)
    decay = optax.stateless(
        lambda updates, params: jax.tree.map(lambda update, p, factor: update + factor * p, updates, params, factors)
    )
    if config.repeat_updates and config.name != "sgd":
        raise InputError(f"optimizer.repeat_updates is for sgd; optimizer.name is {config.name!r}")
    if config.name == "sgd":
        return optax.chain(decay, optax.trace(config.momentum))
    if config.name == "adamw":
        return optax.chain(optax.scale_by_adam(), decay)
    raise InputError(f"optimizer.name is {config.name!r}; expected sgd or adamw")


def _constrain(path: tuple, param: jax.Array, factor: float) -> jax.Array:
    """Makes P orthogonal again after a step that moved it; leaves other parameters alone."""
    return nearest_orthogonal(param) if parameter_name(path) == PROJECTION and factor else param
