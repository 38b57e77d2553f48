"""What several layouts have in common: images and masks in two folders, matched by their stems."""

from __future__ import annotations

import os
from pathlib import Path

from cosnet_jax.data.builders.base import Frame, Scan
from cosnet_jax.files import natural_key
from cosnet_jax.video.images import IMAGE_SUFFIXES

MASK_SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm")
MAPS = "maps"  # a folder of this name holds soft masks


def list_files(folder: Path, suffixes: tuple[str, ...], scan: Scan) -> dict[str, Path]:
    """Lists the files of a folder by stem, in natural order, without hidden ones; {} if there is no folder.

    `suffixes` are in lower case; the files' can have any. `scan` gets a problem for each stem that two files share.
    """
    files: dict[str, Path] = {}
    for name in sorted(os.listdir(folder), key=natural_key) if os.path.isdir(folder) else ():
        path = folder / name
        if path.suffix.lower() in suffixes and not name.startswith("."):
            if path.stem in files:
                scan.problems.append(f"{path} has the same stem as {files[path.stem].name}: expected one file for each")
            files[path.stem] = path
    return files


def list_frames(sequence: str, images: Path, masks: Path, scan: Scan) -> list[Frame]:
    """Lists the frames of a sequence in natural order, with the masks of the same stems; what is odd goes to `scan`.

    Where both folders are the same, the masks are its PNG files.
    """
    together = images == masks
    found = list_files(images, (".jpg", ".jpeg") if together else IMAGE_SUFFIXES, scan)
    annotated = list_files(masks, (".png",) if together else MASK_SUFFIXES, scan)
    if not found:
        scan.problems.append(f"{images} holds no images: expected the frames of {sequence}")
    elif surplus := len(annotated.keys() - found.keys()):
        scan.notes.append(f"{masks} has {surplus} masks without an image: not used")
    return [Frame(sequence, stem, image, annotated.get(stem), masks.name == MAPS) for stem, image in found.items()]


def list_video(sequence: str, images: Path, masks: Path, scan: Scan) -> list[Frame]:
    """Does what `list_frames` does for a video, which needs one mask at least."""
    frames = list_frames(sequence, images, masks, scan)
    if frames and not any(frame.mask for frame in frames):
        scan.problems.append(f"{masks} holds no mask of an image: expected one with the image's stem")
    return frames


def require_masks(frames: list[Frame], masks: Path, scan: Scan) -> None:
    """Adds a problem to `scan` if some of these frames have no mask in the folder `masks`."""
    if missing := [frame for frame in frames if frame.mask is None]:
        scan.problems.append(f"{masks / missing[0].name}.png not found: {len(missing)} images have no mask")
