"""What the tests of scores share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import memory_sequence
import pytest


@pytest.fixture
def write_masks(tmp_path: Path) -> Callable[[dict], Path]:
    """Writes {sequence name: {frame name: mask}} as PNG files and returns their folder."""
    return functools.partial(memory_sequence.write_masks, tmp_path / "masks")
