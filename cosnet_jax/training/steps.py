"""The two pure training steps: (state, batch) -> (state, metrics).

Still images train the encoder through its side output; pairs of video frames train everything (paper, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from ml_collections import ConfigDict

from cosnet_jax.errors import InputError
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.training.losses import ENTROPIES, orthogonality, soft_iou_loss
from cosnet_jax.training.optimizer import Optimizer
from cosnet_jax.training.released_recipe import released_losses
from cosnet_jax.training.state import TrainState

Step = Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, dict[str, jax.Array]]]


def regularised_matrix(params: Any, which: str) -> jax.Array:
    """The matrix that Eq. 12 keeps orthogonal: Eq. 4's "P", or the literal "W" = P^T D P."""
    projection, diagonal = params["affinity"]["projection"], params["affinity"]["diagonal"]
    if which == "P":
        return projection
    if which == "W":
        return (projection.T * diagonal) @ projection
    raise InputError(f"loss.orthogonal_matrix is {which!r}; expected P or W")


def paper_losses(model: COSNet, config: ConfigDict) -> dict[str, Callable]:
    """Builds the paper's loss functions.

    Args:
      model: the network.
      config: the whole configuration; `loss` and `freeze_batch_norm` are read.

    Returns:
      {"still": function, "video": function} of (params, batch_stats, batch, key) to (loss, (parts, updated variables)).
    """
    train = not config.freeze_batch_norm
    if config.loss.entropy not in ENTROPIES:
        raise InputError(f"loss.entropy is {config.loss.entropy!r}; expected {' or '.join(ENTROPIES)}")

    def mask_loss(logits, masks):
        loss = ENTROPIES[config.loss.entropy](logits, masks)
        if config.loss.iou:
            loss = loss + config.loss.iou * soft_iou_loss(logits, masks)
        return loss.mean()

    def still_loss(params, batch_stats, batch, _):
        def forward(network, images):
            return network.side_logits(network.encode(images, train), images.shape[1:3])

        variables = {"params": params, "batch_stats": batch_stats}
        logits, updated = model.apply(variables, batch["image"], method=forward, mutable=["batch_stats"])
        side = mask_loss(logits, batch["mask"])
        return config.loss.still * side, ({"side": side}, updated)

    def video_loss(params, batch_stats, batch, key):
        variables = {"params": params, "batch_stats": batch_stats}
        (logits, side_logits), updated = model.apply(
            variables, batch["image"], train, mutable=["batch_stats"], rngs={"dropout": key}
        )
        size = logits.shape[2:]
        masks = batch["mask"].reshape(-1, *size)
        parts = {"coattention": mask_loss(logits.reshape(-1, *size), masks)}
        loss = parts["coattention"]
        if config.loss.video_side:
            parts["side"] = mask_loss(side_logits.reshape(-1, *size), masks)
            loss = loss + config.loss.video_side * parts["side"]
        if model.coattention == "symmetric":
            parts["orthogonality"] = orthogonality(regularised_matrix(params, config.loss.orthogonal_matrix))
            loss = loss + config.loss.orthogonal * parts["orthogonality"]  # Eq. 12
        return loss, (parts, updated)

    return {"still": still_loss, "video": video_loss}


RECIPES = {"paper": paper_losses, "released": released_losses}


def make_steps(model: COSNet, optimizer: Optimizer, config: ConfigDict) -> dict[str, Step]:
    """Builds the steps by kind.

    Args:
      model: the network; if it has an `axis_name` the steps run inside a map over that axis and average over it.
      optimizer: from `make_optimizer`.
      config: the whole configuration; `recipe`, `seed`, `loss` and `freeze_batch_norm` are read.

    Returns:
      {"still": step, "video": step}. A still batch is {"image": (n, h, w, 3), "mask": (n, h, w)}, a video batch
      {"image": (n, 2, h, w, 3), "mask": (n, 2, h, w)}. Metrics are scalars: "loss" and its parts.
    """
    if config.recipe not in RECIPES:
        raise InputError(f"recipe is {config.recipe!r}; expected {' or '.join(RECIPES)}")
    losses = RECIPES[config.recipe](model, config)

    def make_step(kind: str, loss_function) -> Step:
        def loss_of(params, *rest):
            return loss_function(optimizer.freeze(params), *rest)

        def step(state, batch):
            key = jax.random.fold_in(jax.random.key(config.seed), state.step)
            if model.axis_name is not None:
                key = jax.random.fold_in(key, lax.axis_index(model.axis_name))
            gradient = jax.value_and_grad(loss_of, has_aux=True)
            (loss, (parts, updated)), gradients = gradient(state.params, state.batch_stats, batch, key)
            metrics = {"loss": loss, **parts}
            if model.axis_name is not None:
                gradients, metrics = lax.pmean((gradients, metrics), model.axis_name)
            params, opt_state = optimizer.update(gradients, state.opt_state, state.params, state.step, kind)
            batch_stats = updated.get("batch_stats", state.batch_stats)
            return TrainState(state.step + 1, params, batch_stats, opt_state), metrics

        return step

    return {kind: make_step(kind, loss_function) for kind, loss_function in losses.items()}
