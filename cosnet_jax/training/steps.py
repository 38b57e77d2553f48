"""The two pure training steps: (state, batch) -> (state, metrics).

Still images train the encoder through its side output. Pairs of video frames train everything (paper, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from ml_collections import ConfigDict

from cosnet_jax.errors import InputError
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.models.precision import with_matmul_precision
from cosnet_jax.training.losses import LossConfig, mask_loss, pair_loss
from cosnet_jax.training.optimizer import group_factors, stop_frozen
from cosnet_jax.training.released_recipe import released_losses
from cosnet_jax.training.state import TrainState

Batch = dict[str, jax.Array]
Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


def paper_losses(model: COSNet, config: ConfigDict) -> dict[str, Callable]:
    """Builds the paper's loss functions.

    Args:
      model: the network.
      config: the whole configuration; `loss` and `freeze_batch_norm` are read.

    Returns:
      {"still": function, "video": function} of (params, batch_stats, batch) to (loss, (parts, updated variables)).
    """
    train, settings = not config.freeze_batch_norm, LossConfig.read(config.loss)

    def still_loss(params, batch_stats, batch):
        def forward(network, images):
            return network.side_logits(network.encode(images, train), images.shape[1:3])

        variables = {"params": params, "batch_stats": batch_stats}
        logits, updated = model.apply(variables, batch["image"], method=forward, mutable=["batch_stats"])
        side = mask_loss(logits, batch["mask"], settings)
        return settings.still * side, ({"side": side}, updated)

    def video_loss(params, batch_stats, batch):
        variables = {"params": params, "batch_stats": batch_stats}
        (logits, aux), updated = model.apply(variables, batch["image"], train, mutable=["batch_stats"])
        loss, parts = pair_loss(logits, aux["side_logits"], batch["mask"], settings)
        return loss, (parts, updated)

    return {"still": still_loss, "video": video_loss}


RECIPES = {"paper": paper_losses, "released": released_losses}


def make_steps(model: COSNet, optimizer: optax.GradientTransformation, config: ConfigDict) -> dict[str, Step]:
    """Builds the steps by kind.

    With `accumulate_steps` k above 1 a step takes its batch in k micro-batches, one after the other, and averages their
    losses and gradients. Batch normalisation has the statistics of one micro-batch and moves the running ones with
    each; the released loss is weighted by the foreground of one.

    With `nonfinite_steps` "skip" a step whose loss, parts or gradients are not finite changes nothing but the number of
    steps.

    Args:
      model: the network. If it has an `axis_name` the steps run inside a map over that axis and average over it.
      optimizer: from `make_optimizer`, or any other of optax.
      config: the whole configuration.

    Returns:
      {"still": step, "video": step}. A still batch is {"image": (n, h, w, 3), "mask": (n, h, w)}, a video batch
      {"image": (n, 2, h, w, 3), "mask": (n, 2, h, w)}. Metrics are float32 scalars, averaged over devices: "loss", its
      parts, "foreground" (the mean of the masks), and "finite": 1 if all are finite, else 0.

    Raises:
      InputError: batch normalisation would see one image, or the recipe does not fit the network. A step raises it if n
        is no multiple of `accumulate_steps`.
    """
    check_batch_norm(config)
    losses = RECIPES[config.recipe](model, config)
    return {kind: _make_step(kind, loss, model.axis_name, optimizer, config) for kind, loss in losses.items()}


def check_batch_norm(config: ConfigDict) -> None:
    """Raises an InputError if batch normalisation would have a single image, over all devices, to normalise.

    The pooled branch of the ASPP has one value of each channel for an image; normalised by itself it says nothing. A
    pair is two images, but the released recipe takes its frames one after the other.
    """
    images = config.batch_size // config.accumulate_steps
    alone = config.recipe == "released" or "still" in config.step_pattern
    if images == 1 and alone and not config.freeze_batch_norm:
        raise InputError(
            f"batch_size is {config.batch_size} and accumulate_steps {config.accumulate_steps}: batch normalisation "
            "would see one image at a time; expected a batch_size of twice accumulate_steps, or freeze_batch_norm=true"
        )


def _make_step(
    kind: str,
    loss_function: Callable,
    axis_name: str | None,
    optimizer: optax.GradientTransformation,
    config: ConfigDict,
) -> Step:
    optimizer, ema = optax.with_extra_args_support(optimizer), config.optimizer.ema

    def step(state, batch):
        def loss_of(params, *rest):
            return loss_function(stop_frozen(params, group_factors(params, config.optimizer.groups)), *rest)

        gradients, metrics, batch_stats = mean_gradients(loss_of, state, batch, config.accumulate_steps)
        metrics["foreground"] = batch["mask"].astype(jnp.float32).mean()
        if axis_name is not None:
            gradients, metrics = lax.pmean((gradients, metrics), axis_name)
        # After the average over devices, which spreads what is not finite, so this needs no communication.
        metrics["finite"] = all_finite((gradients, metrics)).astype(jnp.float32)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params, kind=kind)
        params = optax.apply_updates(state.params, updates)
        average = optax.incremental_update(params, state.average, 1 - ema) if ema else state.average
        new = TrainState(state.step + 1, params, batch_stats, opt_state, average)
        if config.nonfinite_steps == "skip":
            unchanged = state.replace(step=state.step + 1)
            new = jax.tree.map(lambda *leaves: jnp.where(metrics["finite"] > 0, *leaves), new, unchanged)
        return new, metrics

    return with_matmul_precision(step, config.matmul_precision)


def mean_gradients(
    loss_function: Callable, state: TrainState, batch: Batch, accumulate_steps: int
) -> tuple[Any, dict[str, jax.Array], Any]:
    """Gradients and loss of a batch, taken in equal parts one after the other.

    Args:
      loss_function: as `paper_losses` returns.
      state: has the parameters and the running statistics; the statistics move from part to part.
      batch: arrays (n, ...).
      accumulate_steps: number of parts.

    Returns:
      (mean gradients, {"loss": mean loss, its parts' means}, running statistics).

    Raises:
      InputError: if n is no multiple of the number of parts.
    """
    differentiate = jax.value_and_grad(loss_function, has_aux=True)

    def take(batch_stats, batch):
        (loss, (parts, updated)), gradients = differentiate(state.params, batch_stats, batch)
        return (gradients, {"loss": loss, **parts}), updated.get("batch_stats", batch_stats)

    if accumulate_steps == 1:
        (gradients, metrics), batch_stats = take(state.batch_stats, batch)
        return gradients, metrics, batch_stats

    def add(carry, batch):
        totals, batch_stats = carry
        values, batch_stats = take(batch_stats, batch)
        return (jax.tree.map(jnp.add, totals, values), batch_stats), None

    parts = {name: _split(array, accumulate_steps) for name, array in batch.items()}
    shapes, _ = jax.eval_shape(take, state.batch_stats, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    (totals, batch_stats), _ = lax.scan(add, (zeros, state.batch_stats), parts)
    gradients, metrics = jax.tree.map(lambda total: total / accumulate_steps, totals)
    return gradients, metrics, batch_stats


def _split(array: jax.Array, parts: int) -> jax.Array:
    """(n, ...) to (parts, n / parts, ...)."""
    if len(array) % parts:
        raise InputError(f"accumulate_steps is {parts}; expected a divisor of a device's {len(array)} examples")
    return array.reshape(parts, -1, *array.shape[1:])


def all_finite(tree: Any) -> jax.Array:
    """Whether no array of a tree has an infinity or NaN."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()
