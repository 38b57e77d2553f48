"""What training minimises: the paper's losses (section 3.2), and the authors' own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array


def balanced_cross_entropy(logits: Array, masks: Array) -> Array:
    """Eq. 11 for each example, as a mean over its pixels, with eta its share of foreground pixels.

    `-(1 - eta) o log y - eta (1 - o) log(1 - y)`, from logits, so it is finite for any logit. An example without
    foreground (eta = 0) or without background (eta = 1) has weight zero on the only class it has, and so loss 0.

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
    """Cross-entropy of each example, as a mean over its pixels; arguments and result as in `balanced_cross_entropy`."""
    logits, masks = logits.astype(jnp.float32), masks.astype(jnp.float32)
    return (jax.nn.softplus(logits) - masks * logits).mean((1, 2))


def soft_iou_loss(logits: Array, masks: Array) -> Array:
    """1 - intersection over union of each example, with probabilities for the prediction (Rahman & Wang, 2016).

    One pixel is added to intersection and union, so that an empty mask is defined and best predicted empty.

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
    """The authors' loss: mean cross-entropy, times pixels / foreground pixels of the whole batch, plus an L1 distance.

    Args:
      logits: (n, h, w).
      masks: (n, h, w) ground truth in {0, 1}, any type.
      l1_weight: of the mean L1 distance of the probabilities.
      axis_name: the mapped axis that the batch is split over, or None.

    Returns:
      A scalar; finite for a batch without foreground too, where the release has infinity.
    """
    logits, masks = logits.astype(jnp.float32), masks.astype(jnp.float32)
    foreground = masks.mean()
    if axis_name is not None:
        foreground = lax.pmean(foreground, axis_name)
    entropy = cross_entropy(logits, masks).mean()
    distance = jnp.abs(jax.nn.sigmoid(logits) - masks).mean()
    return entropy / jnp.maximum(foreground, 1 / masks.size) + l1_weight * distance


def orthogonality(matrix: Array) -> Array:
    """The regularisation of Eq. 12, `||P P^T - I||_F`.

    Args:
      matrix: (c, c).

    Returns:
      A scalar, at least 0. Its gradient is zero, and not undefined, where the matrix is orthogonal.
    """
    gram = jnp.einsum("dc,ec->de", matrix, matrix)
    squared = jnp.square(gram - jnp.eye(matrix.shape[0])).sum()
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)
