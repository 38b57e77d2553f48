"""SGD (or AdamW) with polynomial decay and a learning-rate factor per group of parameters and kind of step."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from cosnet_jax.config import STEP_KINDS
from cosnet_jax.errors import InputError
from cosnet_jax.models.parameters import parameter_name

# How often the release's optimiser lists a parameter: once per module around it, below the encoder. First match counts.
REPEATS = (("^encoder/body/layer.*/downsample_", 4), ("^encoder/body/layer", 3), ("^encoder/aspp/", 2), ("", 1))


class Optimizer(NamedTuple):
    """The pure functions of an optimiser.

    Attributes:
      init: params -> state.
      update: (gradients, state, params, step, kind) -> (params, state), kind in `STEP_KINDS`.
      learning_rate: step -> the rate before the groups' factors.
      freeze: params -> the same, without a gradient to those that are frozen, so that nothing is computed for it.
    """

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]
    learning_rate: Callable[[Any], jax.Array]
    freeze: Callable[[Any], Any]


def group_factors(params: Any, groups: tuple[tuple[str, float, float], ...]) -> dict[str, Any]:
    """The learning-rate factor of every parameter, for each kind of step.

    Args:
      params: the parameter tree.
      groups: (pattern, factor in still steps, factor in video steps) rows; a parameter belongs to the first row whose
        regular expression is found in its name. Factors of 0 and 0 freeze it.

    Returns:
      {"still": tree of floats, "video": tree of floats}.

    Raises:
      InputError: if a parameter belongs to no row, or a row has no parameter.
    """
    names = [parameter_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    rows, used = [], set()
    for name in names:
        row = next((index for index, (pattern, _, _) in enumerate(groups) if re.search(pattern, name)), None)
        if row is None:
            raise InputError(f"optimizer.groups: no pattern matches the parameter {name!r}")
        rows.append(row)
        used.add(row)
    for index, (pattern, _, _) in enumerate(groups):
        if index not in used:
            raise InputError(f"optimizer.groups: the pattern {pattern!r} is the first to match no parameter")
    structure = jax.tree.structure(params)
    return {
        kind: jax.tree.unflatten(structure, [float(groups[row][column]) for row in rows])
        for column, kind in enumerate(STEP_KINDS, 1)
    }


def update_counts(params: Any, repeat_updates: bool) -> Any:
    """How often one step updates each parameter: a tree of integers, 1 unless `repeat_updates`."""

    def count(path, _):
        name = parameter_name(path)
        return next(times for pattern, times in REPEATS if re.search(pattern, name)) if repeat_updates else 1

    return jax.tree_util.tree_map_with_path(count, params)


def make_optimizer(config: ConfigDict, params: Any, total_steps: int) -> Optimizer:
    """Builds the optimiser.

    With "sgd" it is PyTorch's: weight decay is added to the gradient, momentum gathers that, and the learning rate
    (times the group's factor) scales the result; momentum and decay go on in steps whose factor is 0. With
    `repeat_updates` a step updates some parameters several times in a row, each time with the same gradient, the
    momentum moved on and the weight decay of the weight as it has become.

    Args:
      config: `config.optimizer`.
      params: the parameter tree, for its names.
      total_steps: at which the polynomial decay reaches 0.

    Returns:
      An `Optimizer`.

    Raises:
      InputError: for an unknown name or groups that do not fit.
    """
    decay = optax.add_decayed_weights(config.weight_decay)
    if config.name == "sgd":
        direction = optax.chain(decay, optax.trace(config.momentum))
    elif config.name == "adamw":
        direction = optax.chain(optax.scale_by_adam(), decay)
    else:
        raise InputError(f"optimizer.name is {config.name!r}; expected sgd or adamw")
    if config.repeat_updates and config.name != "sgd":
        raise InputError(f"optimizer.repeat_updates is for sgd; optimizer.name is {config.name!r}")
    factors, counts = group_factors(params, config.groups), update_counts(params, config.repeat_updates)

    def learning_rate(step):
        warmup = jnp.minimum(1.0, (step + 1) / max(config.warmup_steps, 1))
        factor = jnp.where(step < config.drop_from * total_steps, 1.0, config.drop_factor)
        return config.learning_rate * warmup * factor * (1 - jnp.minimum(step / total_steps, 1.0)) ** config.power

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
        return params, state

    def freeze(params):
        def frozen(param, *factors):
            return param if any(factors) else jax.lax.stop_gradient(param)

        return jax.tree.map(frozen, params, *factors.values())

    return Optimizer(direction.init, update, learning_rate, freeze)
