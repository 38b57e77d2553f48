"""The losses: the paper's (section 3.2), and those of the authors' code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from cosnet_jax.section import Section, setting

Array = jax.Array


def balanced_cross_entropy(logits: Array, masks: Array) -> Array:
    """Computes Eq. 11 for each example, as a mean over its pixels; eta is the example's share of foreground pixels.

    `-(1 - eta) o log y - eta (1 - o) log(1 - y)`, from logits, so it is finite for any logit. An example without
    foreground (eta = 0) or without background (eta = 1) has weight zero on the only class it has, and so loss 0.

    The paper sums over pixels. The mean is the sum divided by the number of pixels (223,729 at 473x473), so that the
    loss, its gradient and SGD's steps do not depend on the size of the image.

    Args:
      logits: (n, h, w).
      masks: (n, h, w) ground truth in [0, 1], any type; soft masks are targets between.

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
      masks: (n, h, w) ground truth in [0, 1], any type; soft masks are targets between.

    Returns:
      (n,) float32 in [0, 1].
    """
    probabilities, masks = jax.nn.sigmoid(logits.astype(jnp.float32)), masks.astype(jnp.float32)
    intersection = (probabilities * masks).sum((1, 2))
    union = (probabilities + masks).sum((1, 2)) - intersection
    return 1 - (intersection + 1) / (union + 1)


ENTROPIES = {"balanced": balanced_cross_entropy, "plain": cross_entropy}


@dataclass(frozen=True)
class LossConfig(Section, name="loss"):
    """The losses of the training steps."""

    entropy: str = setting("balanced", choices=tuple(ENTROPIES))  # Eq. 11 as a mean, or plain cross-entropy
    iou: float = setting(0.0, low=0)  # weight of 1 - soft IoU beside it
    still: float = setting(1.0, low=0)  # weight of the still steps' loss
    video_side: float = setting(0.0, low=0)  # weight of the side output's loss in video steps; the paper has none
    l1: float = setting(0.8, low=0)  # weight of the L1 distance beside the cross-entropy; recipe released only


def mask_loss(logits: Array, masks: Array, config: LossConfig) -> Array:
    """Computes the mean over examples of the configured cross-entropy and soft IoU, from logits and masks (n, h, w)."""
    loss = ENTROPIES[config.entropy](logits, masks)
    if config.iou:
        loss = loss + config.iou * soft_iou_loss(logits, masks)
    return loss.mean()


def pair_loss(logits: Array, side_logits: Array, masks: Array, config: Any = None) -> tuple[Array, dict[str, Array]]:
    """Computes the loss of pairs of frames (Eq. 11, and what the configuration adds).

    Args:
      logits: (n, 2, h, w) of the co-attention, as `COSNet` returns them.
      side_logits: (n, 2, h, w) of the encoder alone.
      masks: (n, 2, h, w) ground truth in [0, 1], any type.
      config: `config.loss`; None is the paper's.

    Returns:
      A scalar, and its parts before weighting: "coattention", and "side" where it counts.
    """
    config = LossConfig.read(config or {})
    logits, side_logits, masks = (x.reshape(-1, *x.shape[2:]) for x in (logits, side_logits, masks))
    parts = {"coattention": mask_loss(logits, masks, config)}
    loss = parts["coattention"]
    if config.video_side:
        parts["side"] = mask_loss(side_logits, masks, config)
        loss = loss + config.video_side * parts["side"]
    return loss, parts
