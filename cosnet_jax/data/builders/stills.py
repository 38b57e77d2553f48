"""Any sets of still images in folders `images` + `masks` (or `saliencymaps`)."""

from __future__ import annotations

from pathlib import Path

from cosnet_jax.data.builders.image_mask_pairs import ImageMaskPairs, find_layout
from cosnet_jax.data.builders.sets import find_sets


class Stills(ImageMaskPairs):
    """A set of the user's own still images: `images/*` and `masks/*` or `saliencymaps/*` with equal stems.

    The authors' released code expects the layout with `saliencymaps` for MSRA10K and DUT-OMRON.
    """

    LAYOUTS = (("images", "masks"), ("images", "saliencymaps"))

    @classmethod
    def find_sets(cls, source: str) -> dict[str, Path]:
        """Finds the sets that a source names, see `sets.find_sets`."""
        return find_sets(
            source, lambda folder: find_layout(folder, cls.LAYOUTS) is not None, "images + masks or saliencymaps"
        )

    @classmethod
    def sequence_name(cls, source: Path) -> str:
        return source.name
