"""Sets of still images: a folder of images and a folder of masks with equal stems."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from cosnet_jax.data.builders.base import FramesBuilder, Scan
from cosnet_jax.data.builders.folders import MAPS, list_frames, require_masks


class ImageMaskPairs(FramesBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builds one sequence in the split "train" from a set of still images."""

    # Possible folders of images and masks, relative to the source. If both are the same, the masks are its PNG files.
    LAYOUTS: ClassVar[tuple[tuple[str, str], ...]]

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.LAYOUT = " or ".join(f"{images} + {masks}" for images, masks in cls.LAYOUTS)

    @classmethod
    def scan(cls, source: Path) -> Scan:
        scan = Scan()
        for images, masks in ((source / images, source / masks) for images, masks in cls.LAYOUTS):
            if images.is_dir() and masks.is_dir():
                frames = list_frames(source.name if cls.SEVERAL else cls.name, images, masks, scan)
                require_masks(frames, masks, scan)
                scan.splits["train"] = sorted(frames, key=lambda frame: frame.name)
                break
        return scan


class Duts(ImageMaskPairs):
    """DUTS-TR, the training part of DUTS: 10,553 images (Wang et al., CVPR 2017), from ImageNet. For research."""

    LAYOUTS = (("DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask"), ("DUTS-TR-Image", "DUTS-TR-Mask"))


class Msra10k(ImageMaskPairs):
    """MSRA10K: 10,000 images (Cheng et al., Global Contrast based Salient Region Detection, TPAMI 2015)."""

    LAYOUTS = (("MSRA10K_Imgs_GT/Imgs", "MSRA10K_Imgs_GT/Imgs"), ("Imgs", "Imgs"), (".", "."))


class DutOmron(ImageMaskPairs):
    """DUT-OMRON: 5,168 images (Yang et al., Saliency Detection via Graph-Based Manifold Ranking, CVPR 2013)."""

    LAYOUTS = (("DUT-OMRON-image", "pixelwiseGT-new-PNG"),)


class Stills(ImageMaskPairs):
    """A set of the user's own still images: `images/*` with `masks/*` or soft `maps/*`, equal stems.

    The authors' released code calls the masks of MSRA10K and DUT-OMRON `saliencymaps`; annotation tools export
    `JPEGImages` with `SegmentationClass`.
    """

    SEVERAL = True
    LAYOUTS = (("images", "masks"), ("images", MAPS), ("images", "saliencymaps"), ("JPEGImages", "SegmentationClass"))
