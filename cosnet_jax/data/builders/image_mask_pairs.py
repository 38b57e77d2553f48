"""The base class of the builders of still images: a folder of images and a folder of masks with equal stems."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from cosnet_jax.data.builders.base import Frame, FramesBuilder, Scan
from cosnet_jax.video.images import IMAGE_SUFFIXES

MASK_SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg")


class ImageMaskPairs(FramesBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builds one sequence in the split "train" from a set of still images; foreground is a mask value above 127."""

    # Possible folders of images and masks, relative to the source. If both are the same, the masks are its PNG files.
    LAYOUTS: ClassVar[tuple[tuple[str, str], ...]]

    @classmethod
    def sequence_name(cls, source: Path) -> str:
        """Returns the name of the set."""
        del source
        return cls.name

    @classmethod
    def scan(cls, source: Path) -> Scan:
        scan = Scan()
        folders = find_layout(source, cls.LAYOUTS)
        if folders is None:
            expected = " or ".join(f"{images} + {masks}" for images, masks in cls.LAYOUTS)
            scan.problems.append(f"{source} has no folders of images and masks: expected {expected}")
            return scan
        images, masks = list_files(*folders, scan.problems)
        for stem in sorted(images.keys() - masks.keys()):
            scan.problems.append(f"{images[stem]} has no mask: expected {folders[1] / stem}.png")
        if surplus := len(masks.keys() - images.keys()):
            scan.notes.append(f"{folders[1]} has {surplus} masks without an image: not used")
        if not images:
            scan.problems.append(f"{folders[0]} holds no images: expected {' '.join(IMAGE_SUFFIXES)}")
        name = cls.sequence_name(source)
        scan.splits["train"] = [Frame(name, stem, images[stem], masks.get(stem)) for stem in sorted(images)]
        return scan


def find_layout(source: Path, layouts: tuple[tuple[str, str], ...]) -> tuple[Path, Path] | None:
    """Finds the folders of images and masks.

    Args:
      source: folder of the raw dataset.
      layouts: possible pairs of folders (images, masks) in it.

    Returns:
      The first pair that exists, or None.
    """
    for images, masks in layouts:
        if (source / images).is_dir() and (source / masks).is_dir():
            return source / images, source / masks
    return None


def list_files(image_folder: Path, mask_folder: Path, problems: list[str]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Lists images and masks by stem.

    Args:
      image_folder, mask_folder: the two folders. If they are the same, the masks are its PNG files. One that does not
        exist counts as empty.
      problems: gets one line for each stem that two files of a folder share.

    Returns:
      The images and the masks, sorted by name.
    """
    together = image_folder == mask_folder
    image_suffixes = (".jpg", ".jpeg") if together else IMAGE_SUFFIXES
    mask_suffixes = (".png",) if together else MASK_SUFFIXES
    return _by_stem(image_folder, image_suffixes, problems), _by_stem(mask_folder, mask_suffixes, problems)


def _by_stem(folder: Path, suffixes: tuple[str, ...], problems: list[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in files:
            problems.append(f"{path} has the same stem as {files[path.stem].name}: expected one file for each stem")
        files[path.stem] = path
    return files
