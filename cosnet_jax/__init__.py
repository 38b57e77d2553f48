"""COSNet in JAX: unsupervised video object segmentation with co-attention between the frames of a video."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cosnet_jax.errors import InputError

if TYPE_CHECKING:
    from cosnet_jax.inference.segmenter import Segmenter
    from cosnet_jax.video.reader import open_video

__all__ = ["InputError", "Segmenter", "open_video"]
_MODULES = {"Segmenter": "cosnet_jax.inference.segmenter", "open_video": "cosnet_jax.video.reader"}


def __getattr__(name: str) -> Any:
    """Imports a name, and what it needs, when it is first asked for: the scoring workers start without jax."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
