"""Any sets of still images in folders `images` + `masks` (or `saliencymaps`)."""

from __future__ import annotations

from pathlib import Path

from cosnet_jax.data.builders.image_mask_pairs import ImageMaskPairs, find_layout
from cosnet_jax.errors import InputError


class Stills(ImageMaskPairs):
    """A set of the user's own still images: `images/*` and `masks/*` or `saliencymaps/*` with equal stems.

    The authors' released code expects the layout with `saliencymaps` for MSRA10K and DUT-OMRON.
    """

    LAYOUTS = (("images", "masks"), ("images", "saliencymaps"))

    @classmethod
    def sequence_name(cls, source: Path) -> str:
        return source.name


def find_sets(source: str) -> dict[str, Path]:
    """Finds the sets that a source names.

    Args:
      source: one or more folders separated by commas; each is a set or contains sets.

    Returns:
      Folder of each set by name; the name is the folder's.

    Raises:
      InputError: a folder is missing or contains no set, or two sets have the same name.
    """
    sets: dict[str, Path] = {}
    for part in filter(None, (part.strip() for part in source.split(","))):
        folder = Path(part).expanduser().absolute()
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder: expected images + masks, or a folder of such folders")
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
        found = [path for path in (folder, *inner) if find_layout(path, Stills.LAYOUTS)]
        if not found:
            raise InputError(
                f"{folder} holds no set: expected images + masks or saliencymaps, in it or one level below"
            )
        for path in found:
            if path.name in sets:
                raise InputError(f"{path} and {sets[path.name]} have the same name: expected different folder names")
            sets[path.name] = path
    return sets
