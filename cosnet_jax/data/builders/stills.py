"""Sets of still images: a folder of images and a folder of masks with equal stems."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from cosnet_jax.data.builders.base import Frame, FramesBuilder, Scan
from cosnet_jax.data.builders.folders import find_sets, list_pairs
from cosnet_jax.video.images import IMAGE_SUFFIXES

MAPS = "maps"  # a folder of this name holds soft masks


class ImageMaskPairs(FramesBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builds one sequence in the split "train" from a set of still images."""

    # Possible folders of images and masks, relative to the source. If both are the same, the masks are its PNG files.
    LAYOUTS: ClassVar[tuple[tuple[str, str], ...]]

    @classmethod
    def find_layout(cls, source: Path) -> tuple[Path, Path] | None:
        """Finds the folders of images and masks in a source: the first of `LAYOUTS` that exists, or None."""
        for images, masks in cls.LAYOUTS:
            folders = source / images, source / masks
            if all(folder.is_dir() for folder in folders) and (images != "." or any(source.glob("*.[jJ][pP][gG]"))):
                return folders
        return None

    @classmethod
    def is_source(cls, folder: Path) -> bool:
        return cls.find_layout(folder) is not None

    @classmethod
    def sequence_name(cls, source: Path) -> str:
        """Returns the name of the set."""
        del source
        return cls.name

    @classmethod
    def scan(cls, source: Path) -> Scan:
        scan = Scan()
        folders = cls.find_layout(source)
        if folders is None:
            expected = " or ".join(f"{images} + {masks}" for images, masks in cls.LAYOUTS)
            scan.problems.append(f"{source} has no folders of images and masks: expected {expected}")
            return scan
        images, masks = list_pairs(*folders, scan.problems)
        for stem in sorted(images.keys() - masks.keys()):
            scan.problems.append(f"{images[stem]} has no mask: expected {folders[1] / stem}.png")
        if surplus := len(masks.keys() - images.keys()):
            scan.notes.append(f"{folders[1]} has {surplus} masks without an image: not used")
        if not images:
            scan.problems.append(f"{folders[0]} holds no images: expected {' '.join(IMAGE_SUFFIXES)}")
        name, soft = cls.sequence_name(source), folders[1].name == MAPS
        scan.splits["train"] = [Frame(name, stem, images[stem], masks.get(stem), soft) for stem in sorted(images)]
        return scan


class Duts(ImageMaskPairs):
    """DUTS-TR, the training part of DUTS: 10,553 images (Wang et al., CVPR 2017).

    Obtained from http://saliencydetection.net/duts/ ("DUTS-TR"); the source is the folder that holds `DUTS-TR`, or
    `DUTS-TR` itself, with `DUTS-TR-Image/*.jpg` and `DUTS-TR-Mask/*.png`. The images are from ImageNet: for research.
    """

    LAYOUTS = (("DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask"), ("DUTS-TR-Image", "DUTS-TR-Mask"))


class Msra10k(ImageMaskPairs):
    """MSRA10K: 10,000 images (Cheng et al., Global Contrast based Salient Region Detection, TPAMI 2015).

    Obtained from https://mmcheng.net/msra10k/ ("MSRA10K_Imgs_GT.zip"); the source is the folder that holds
    `MSRA10K_Imgs_GT`, that folder or its `Imgs`, with `*.jpg` and `*.png` side by side. For research.
    """

    LAYOUTS = (("MSRA10K_Imgs_GT/Imgs", "MSRA10K_Imgs_GT/Imgs"), ("Imgs", "Imgs"), (".", "."))


class DutOmron(ImageMaskPairs):
    """DUT-OMRON: 5,168 images (Yang et al., Saliency Detection via Graph-Based Manifold Ranking, CVPR 2013).

    Obtained from http://saliencydetection.net/dut-omron/ (images and "pixel-wise ground truth"); the source is the
    folder with `DUT-OMRON-image/*.jpg` and `pixelwiseGT-new-PNG/*.png`. For research.
    """

    LAYOUTS = (("DUT-OMRON-image", "pixelwiseGT-new-PNG"),)


class Stills(ImageMaskPairs):
    """A set of the user's own still images: `images/*` with `masks/*` or soft `maps/*`, equal stems.

    The authors' released code calls the masks of MSRA10K and DUT-OMRON `saliencymaps`; annotation tools export
    `JPEGImages` with `SegmentationClass`.
    """

    LAYOUTS = (
        ("images", "masks"),
        ("images", MAPS),
        ("images", "saliencymaps"),
        ("JPEGImages", "SegmentationClass"),
    )

    @classmethod
    def find_sets(cls, source: str) -> dict[str, Path]:
        """Finds the sets that a source names, see `folders.find_sets`."""
        return find_sets(source, cls.is_source, "images + masks, maps or saliencymaps")

    @classmethod
    def sequence_name(cls, source: Path) -> str:
        return source.name
