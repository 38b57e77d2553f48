"""The losses of the authors' training steps. They differ from the paper's.

Each branch is encoded on its own. So batch normalisation has separate statistics for each and moves the running ones
twice, first for a, then for b. A still step runs the whole pair model with the same images as both frames. The losses
are `released_loss`. The rest of the recipe is in the settings of configs/davis16_released.py.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from cosnet_jax.errors import InputError
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.training.losses import released_loss


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

    def still_loss(params, batch_stats, batch, _):
        variables, images = {"params": params, "batch_stats": batch_stats}, batch["image"]
        (_, side), updated = model.apply(variables, images, images, method=forward, mutable=["batch_stats"])
        part = loss(side, batch["mask"])
        return config.loss.still * part, ({"side": part}, updated)

    def video_loss(params, batch_stats, batch, _):
        variables, (a, b) = {"params": params, "batch_stats": batch_stats}, batch["image"].swapaxes(0, 1)
        (logits, _), updated = model.apply(variables, a, b, method=forward, mutable=["batch_stats"])
        total = loss(logits[:, 0], batch["mask"][:, 0]) + loss(logits[:, 1], batch["mask"][:, 1])
        return total, ({"coattention": total}, updated)

    return {"still": still_loss, "video": video_loss}
