"""COSNet in JAX: unsupervised video object segmentation with co-attention between the frames of a video."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cosnet_jax.errors import InputError

if TYPE_CHECKING:
    from cosnet_jax.inference.segmenter import Segmenter

__all__ = ["InputError", "Segmenter"]


def __getattr__(name: str) -> Any:
    """Imports `Segmenter`, and with it jax, when it is first asked for: the scoring workers start without them."""
    if name == "Segmenter":
        from cosnet_jax.inference.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
