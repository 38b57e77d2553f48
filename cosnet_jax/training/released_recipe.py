"""What the authors' training does otherwise than the paper; nothing else knows of it.

- Each branch is encoded on its own. So batch normalisation has separate statistics for each and moves the running ones
  twice, first for a, then for b. A still step runs the whole pair model with the same images as both frames.
- The losses are `released_loss`.
- The optimiser lists parameters of the encoder several times: `repeat_updates`.

The rest of the recipe is in the settings of configs/davis16_released.py.
"""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from ml_collections import ConfigDict

from cosnet_jax.errors import InputError
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.models.parameters import parameter_name
from cosnet_jax.training.losses import cross_entropy

# How often the optimiser lists a parameter: once per module around it, below the encoder. First match counts.
REPEATS = (("^encoder/body/layer.*/downsample_", 4), ("^encoder/body/layer", 3), ("^encoder/aspp/", 2), ("", 1))


def released_losses(model: COSNet, config: ConfigDict) -> dict:
    """Builds the loss functions by kind of step. Arguments and results are those of `steps.paper_losses`.

    Raises:
      InputError: for a co-attention that the recipe does not have.
    """
    if model.coattention not in ("vanilla", "channelwise"):
        raise InputError(f"recipe released is for vanilla or channelwise; model.coattention is {model.coattention!r}")
    train = not config.freeze_batch_norm

    def forward(network, a, b):
        """Maps frames (n, h, w, 3) of each branch to logits of the pair (n, 2, h, w) and side logits of b (n, h, w)."""
        size = a.shape[1:3]
        features_a, features_b = network.encode(a, train), network.encode(b, train)
        return network.decode_pair(features_a, features_b, size, train)[0], network.side_logits(features_b, size)

    def loss(logits, masks):
        return released_loss(logits, masks, config.loss.l1, model.axis_name)

    def still_loss(params, batch_stats, batch):
        variables, images = {"params": params, "batch_stats": batch_stats}, batch["image"]
        (_, side), updated = model.apply(variables, images, images, method=forward, mutable=["batch_stats"])
        part = loss(side, batch["mask"])
        return config.loss.still * part, ({"side": part}, updated)

    def video_loss(params, batch_stats, batch):
        variables, (a, b) = {"params": params, "batch_stats": batch_stats}, batch["image"].swapaxes(0, 1)
        (logits, _), updated = model.apply(variables, a, b, method=forward, mutable=["batch_stats"])
        total = loss(logits[:, 0], batch["mask"][:, 0]) + loss(logits[:, 1], batch["mask"][:, 1])
        return total, ({"coattention": total}, updated)

    return {"still": still_loss, "video": video_loss}


def released_loss(logits: jax.Array, masks: jax.Array, l1_weight: float, axis_name: str | None = None) -> jax.Array:
    """Computes the authors' loss: mean cross-entropy, times pixels / foreground pixels of the batch, plus L1 distance.

    So the mean over parts of a batch (`accumulate_steps`) is not the loss of the whole: each part has its own weight.

    Args:
      logits: (n, h, w).
      masks: (n, h, w) ground truth in [0, 1], any type; soft masks are targets between.
      l1_weight: weight of the mean L1 distance between probabilities and masks.
      axis_name: the mapped axis that the batch is split over, or None.

    Returns:
      A scalar. It is finite for a batch without foreground too, where the release's is infinite.
    """
    logits, masks = logits.astype(jnp.float32), masks.astype(jnp.float32)
    foreground = masks.mean()
    if axis_name is not None:
        foreground = lax.pmean(foreground, axis_name)
    entropy = cross_entropy(logits, masks).mean()
    distance = jnp.abs(jax.nn.sigmoid(logits) - masks).mean()
    return entropy / jnp.maximum(foreground, 1 / masks.size) + l1_weight * distance


def repeat_updates(inner: optax.GradientTransformation, params: Any) -> optax.GradientTransformationExtraArgs:
    """Updates parameters as often as the release's optimiser lists them.

    Each time with the same gradient and learning rate, the momentum as it has become and the decay of the weight as it
    has become.

    Args:
      inner: SGD with its learning rate.
      params: the parameter tree, for its names.

    Returns:
      The transformation, with the state of `inner`.
    """

    def count(path, _):
        return next(times for pattern, times in REPEATS if re.search(pattern, parameter_name(path)))

    counts = jax.tree_util.tree_map_with_path(count, params)
    most = max(jax.tree.leaves(counts))

    def chosen(counts, times, new, old):
        return jax.tree.map(lambda count, new, old: new if count >= times else old, counts, new, old)

    def update(updates, state, params=None, **extra):
        # Counts for the leaves of the state that belong to parameters (the momentum), 0 for others (the step).
        of_state = optax.tree_map_params(inner, lambda _, count: count, state, counts, transform_non_params=lambda _: 0)
        total, after = inner.update(updates, state, params, **extra)
        for times in range(2, most + 1):
            moved = optax.apply_updates(params, total)
            again = chosen(of_state, 1, after, state)  # the momentum goes on; the number of the step stays
            more, later = inner.update(updates, again, moved, **extra)
            total = chosen(counts, times, jax.tree.map(jnp.add, total, more), total)
            after = chosen(of_state, times, later, after)
        return total, after

    return optax.GradientTransformationExtraArgs(inner.init, update)
