"""COSNet in JAX: unsupervised video object segmentation with co-attention between the frames of a video."""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

from cosnet_jax.errors import InputError

if TYPE_CHECKING:
    from cosnet_jax.checkpoints.load import load, save
    from cosnet_jax.evaluation.boundary import boundary_f
    from cosnet_jax.evaluation.region import jaccard
    from cosnet_jax.inference.keep_object import keep_object
    from cosnet_jax.inference.segmenter import Segmenter
    from cosnet_jax.models.build import init_variables
    from cosnet_jax.models.cosnet import COSNet
    from cosnet_jax.training.losses import pair_loss
    from cosnet_jax.training.optimizer import make_optimizer
    from cosnet_jax.video.reader import open_video
    from cosnet_jax.video.sample_clip import sample_clip

__version__ = metadata.version("cosnet_jax")
__all__ = [
    "COSNet", "InputError", "Segmenter", "boundary_f", "init_variables", "jaccard", "keep_object", "load",
    "make_optimizer", "open_video", "pair_loss", "sample_clip", "save",
]  # fmt: skip
_MODULES = {
    "COSNet": "models.cosnet",
    "Segmenter": "inference.segmenter",
    "boundary_f": "evaluation.boundary",
    "init_variables": "models.build",
    "jaccard": "evaluation.region",
    "keep_object": "inference.keep_object",
    "load": "checkpoints.load",
    "make_optimizer": "training.optimizer",
    "open_video": "video.reader",
    "pair_loss": "training.losses",
    "sample_clip": "video.sample_clip",
    "save": "checkpoints.load",
}


def __getattr__(name: str) -> Any:
    """Imports a name, and what it needs, when it is first asked for: the scoring workers start without jax."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"cosnet_jax.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
