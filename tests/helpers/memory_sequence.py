"""Sequences in memory in place of `cosnet_jax.data.sequence.Sequence`, and folders of masks for them.

The tests import this module by its full name, so that worker processes find it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


class MemorySequence:
    """A sequence in memory.

    Args:
      name: the sequence's name.
      masks: (h, w) bool each, or None for a frame without annotation.
      images: (h, w, 3) uint8 each; grey by default.
    """

    def __init__(
        self, name: str, masks: Sequence[np.ndarray | None], images: Sequence[np.ndarray] | None = None
    ) -> None:
        self.name = name
        self.masks = list(masks)
        self.frame_names = tuple(f"{i:05}" for i in range(len(masks)))
        self.annotated = tuple(i for i, mask in enumerate(masks) if mask is not None)
        self._images = images

    @property
    def size(self) -> tuple[int, int]:
        return self.masks[self.annotated[0]].shape

    def __len__(self) -> int:
        return len(self.masks)

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.read(range(len(self)))

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        for i in indices:
            yield np.full((*self.size, 3), 100, np.uint8) if self._images is None else self._images[i]

    def mask(self, i: int) -> np.ndarray | None:
        return self.masks[i]

    def frame_and_mask(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        return next(self.read([i])), self.mask(i)


def moving_ellipses(name: str, count: int = 4, seed: int = 0) -> MemorySequence:
    """Makes a sequence of 48 x 64 pixels whose mask is an ellipse that moves, on noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:48, :64]
    masks = [((rows - 24) / (14 + seed)) ** 2 + ((columns - 20 - 5 * i) / 10) ** 2 < 1 for i in range(count)]
    images = rng.integers(0, 90, (count, 48, 64, 3)).astype(np.uint8) + 150 * np.stack(masks)[..., None].astype(
        np.uint8
    )
    return MemorySequence(name, masks, images.astype(np.uint8))


def write_masks(folder: Path, masks: Mapping[str, Mapping[str, np.ndarray]]) -> Path:
    """Writes {sequence name: {frame name: mask}} as 0/255 PNGs and returns the folder."""
    for sequence, frames in masks.items():
        (folder / sequence).mkdir(parents=True)
        for frame, mask in frames.items():
            Image.fromarray(np.asarray(mask, np.uint8) * 255).save(folder / sequence / f"{frame}.png")
    return folder
