"""What the tests of files and datasets share: sequences in memory and folders of masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


class MemorySequence:
    """A sequence whose ground truth is in memory; see `cosnet_jax.data.sequences.Sequence`."""

    def __init__(self, name: str, masks: list[np.ndarray | None]):
        self.name = name
        self.masks = masks
        self.frame_names = tuple(f"{i:05}" for i in range(len(masks)))
        self.annotated = tuple(i for i, mask in enumerate(masks) if mask is not None)

    def __len__(self) -> int:
        return len(self.masks)

    def mask(self, i: int) -> np.ndarray | None:
        return self.masks[i]

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        return [np.full((*self.masks[self.annotated[0]].shape, 3), 100, np.uint8) for _ in indices]


@pytest.fixture
def make_sequence() -> type[MemorySequence]:
    return MemorySequence


@pytest.fixture
def write_masks(tmp_path: Path) -> Callable[[dict], Path]:
    """Writes {sequence name: {frame name: mask}} as 0/255 PNGs and returns the folder."""

    def write(masks: dict[str, dict[str, np.ndarray]]) -> Path:
        for sequence, frames in masks.items():
            folder = tmp_path / "masks" / sequence
            folder.mkdir(parents=True)
            for frame, mask in frames.items():
                Image.fromarray(np.asarray(mask, dtype=np.uint8) * 255).save(folder / f"{frame}.png")
        return tmp_path / "masks"

    return write
