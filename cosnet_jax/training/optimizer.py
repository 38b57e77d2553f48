"""The optimiser, put together from optax's parts: SGD or AdamW, factors by parameter, P kept orthogonal."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import optax

from cosnet_jax.errors import InputError
from cosnet_jax.models.parameters import parameter_name
from cosnet_jax.section import Section, setting
from cosnet_jax.training.orthogonal import nearest_orthogonal

STEP_KINDS = ("still", "video")  # of training steps
PROJECTION = "affinity/projection"  # P of Eq. 4


@dataclass(frozen=True)
class OptimizerConfig(Section, name="optimizer"):
    """SGD or AdamW with polynomial decay."""

    name: str = setting("sgd", choices=("sgd", "adamw"))
    learning_rate: float = setting(2.5e-4, low=0)  # the paper's
    momentum: float = setting(0.9, low=0, high=1)  # of sgd; chosen
    weight_decay: float = setting(5e-4, low=0)  # chosen
    # Patterns of names of parameters that do not decay: P of Eq. 4, biases, scales of batch normalisation, the PReLU's
    # slope. Chosen; in the release every parameter decays.
    no_decay: tuple[str, ...] = setting(("^affinity/projection$", "/(bias|scale|slope)$"))
    power: float = setting(0.9, low=0)  # exponent of the polynomial decay to 0; chosen
    warmup_steps: int = setting(0, low=0)
    drop_from: float = setting(1.0, low=0, high=1)  # share of the steps after which the rate is times drop_factor
    drop_factor: float = setting(0.5, low=0)
    ema: float = setting(0.0, low=0, high=0.999999)  # of the average of the weights that validation takes; 0: none
    repeat_updates: bool = False  # update encoder parameters 1-4 times a step, as the release does; sgd only
    # (pattern of parameter names, factor of the learning rate in still steps, in video steps). The first match counts,
    # 0 and 0 freezes, "" stands for all other parameters. The paper's still steps train the encoder alone.
    groups: tuple[tuple[str, float, float], ...] = setting((("^encoder/", 1.0, 1.0), ("", 0.0, 1.0)))

    def __post_init__(self):
        super().__post_init__()
        if self.repeat_updates and self.name != "sgd":
            raise InputError(f"optimizer.repeat_updates is for sgd; optimizer.name is {self.name!r}")


def make_schedule(config: Any, total_steps: int) -> Callable[[Any], Any]:
    """Builds the learning rate before the groups' factors: a linear warm-up, a polynomial decay to 0, and a drop.

    Args:
      config: `config.optimizer`.
      total_steps: the step at which the decay reaches 0.

    Returns:
      step -> rate.
    """
    config = OptimizerConfig.read(config)
    decay = optax.polynomial_schedule(config.learning_rate, 0.0, config.power, total_steps)
    warmup = optax.linear_schedule(1 / max(config.warmup_steps, 1), 1.0, max(config.warmup_steps - 1, 1))
    drop = optax.piecewise_constant_schedule(1.0, {round(config.drop_from * total_steps): config.drop_factor})
    return lambda step: decay(step) * warmup(step) * drop(step)


def make_optimizer(config: Any, params: Any, total_steps: int) -> optax.GradientTransformationExtraArgs:
    """Builds the optimiser. Its `update` takes the kind of step as `kind`, "still" or "video" (the default).

    SGD is PyTorch's: it adds weight decay to the gradient, gathers the sum in the momentum, and scales that by the
    learning rate times the group's factor. Momentum and decay go on in steps whose factor is 0.

    Args:
      config: `config.optimizer`.
      params: the parameter tree, for its names.
      total_steps: the step at which the polynomial decay reaches 0.

    Returns:
      A `GradientTransformation`; any optimiser of optax can take its place.

    Raises:
      InputError: for groups that do not fit.
    """
    config = OptimizerConfig.read(config)
    factors = group_factors(params, config.groups)
    decays = _decays(params, config.no_decay)
    mask = None if all(jax.tree.leaves(decays)) else decays
    decay = optax.add_decayed_weights(config.weight_decay, mask)
    parts = {"sgd": (decay, optax.trace(config.momentum)), "adamw": (optax.scale_by_adam(), decay)}[config.name]
    rate = optax.scale_by_learning_rate(make_schedule(config, total_steps))
    optimizer = optax.chain(*parts, scale_by_group(factors), rate)
    if config.repeat_updates:
        from cosnet_jax.training.released_recipe import repeat_updates

        optimizer = repeat_updates(optimizer, params)
    return optax.chain(optimizer, keep_orthogonal(factors))


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


def stop_frozen(params: Any, factors: dict[str, Any]) -> Any:
    """Stops the gradients of parameters whose factors are all 0, so that nothing is computed for them."""

    def frozen(param, *factors):
        return param if any(factors) else jax.lax.stop_gradient(param)

    return jax.tree.map(frozen, params, *factors.values())


def scale_by_group(factors: dict[str, Any]) -> optax.GradientTransformationExtraArgs:
    """Scales each parameter's update by its factor for the kind of step, from `group_factors`."""

    def update(updates, state, params=None, *, kind="video", **_):
        del params
        return jax.tree.map(lambda update, factor: factor * update, updates, factors[kind]), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def keep_orthogonal(factors: dict[str, Any]) -> optax.GradientTransformationExtraArgs:
    """Makes an update that moves P of the symmetric co-attention end at the nearest orthogonal matrix."""

    def update(updates, state, params=None, *, kind="video", **_):
        def project(path, update, param, factor):
            if parameter_name(path) != PROJECTION or not factor:
                return update
            return nearest_orthogonal(param + update) - param

        return jax.tree_util.tree_map_with_path(project, updates, params, factors[kind]), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def _decays(params: Any, no_decay: Sequence[str]) -> Any:
    """Tells which parameters decay: those in whose names no pattern is found. A pattern may match no parameter."""

    def decays(path, _):
        return not any(re.search(pattern, parameter_name(path)) for pattern in no_decay)

    return jax.tree_util.tree_map_with_path(decays, params)
