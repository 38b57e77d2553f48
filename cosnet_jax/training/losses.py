"""The losses: the paper's (section 3.2), and those of the authors' code."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array


def balanced_cross_entropy(logits: Array, masks: Array) -> Array:
    """Computes Eq. 11 for each example, as a mean over its pixels; eta is the example's share of foreground pixels.

    `-(1 - eta) o log y - eta (1 - o) log(1 - y)`, from logits, so it is finite for any logit. An example without
    foreground (eta = 0) or without background (eta = 1) has weight zero on the only class it has, and so loss 0.

    The paper sums over pixels. The mean is the sum divided by the number of pixels (223,729 at 473x473), so that the
    loss, its gradient and SGD's steps do not depend on the size of the image.

    Args:
      logits: (n, h, w).
      masks: (n, h, w) ground truth in {0, 1}, any type.

    Returns:
      (n,) float32, at least 0.
    """
    logits, masks = logits.astype(jnp.float32), masks.astype(jnp.float32)
    eta = masks.mean((1, 2), keepdims=True)
    foreground, background = jax.nn.softplus(-logits), jax.nn.softplus(logits)  # -log y, -log(1 - y)
    return ((1 - eta) * masks * foreground + eta * (1 - masks) * background).mean((1, 2))


def cross_entropy(logits: Array, masks: Array) -> Array:
    """Computes the cross-entropy of each example as a mean over its pixels; otherwise as `balanced_cross_entropy`."""
    logits, masks = logits.astype(jnp.float32), masks.astype(jnp.float32)
    return (jax.nn.softplus(logits) - masks * logits).mean((1, 2))


def soft_iou_loss(logits: Array, masks: Array) -> Array:
    """Computes 1 - intersection over union of each example, from probabilities (Rahman & Wang, 2016).

    One pixel is added to intersection and union. So the loss of an empty mask is defined, and least for an empty
    prediction.

    Args:
      logits: (n, h, w).
      masks: (n, h, w) ground truth in {0, 1}, any type.

    Returns:
      (n,) float32 in [0, 1].
    """
    probabilities, masks = jax.nn.sigmoid(logits.astype(jnp.float32)), masks.astype(jnp.float32)
    intersection = (probabilities * masks).sum((1, 2))
    union = (probabilities + masks).sum((1, 2)) - intersection
    return 1 - (intersection + 1) / (union + 1)


ENTROPIES = {"balanced": balanced_cross_entropy, "plain": cross_entropy}


def released_loss(logits: Array, masks: Array, l1_weight: float, axis_name: str | None = None) -> Array:
    """Computes the authors' loss: mean cross-entropy, times pixels / foreground pixels of the batch, plus L1 distance.

    So the mean over parts of a batch (`accumulate_steps`) is not the loss of the whole: each part has its own weight.

    Args:
      logits: (n, h, w).
      masks: (n, h, w) ground truth in {0, 1}, any type.
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
