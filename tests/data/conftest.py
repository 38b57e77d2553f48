"""Fixtures of the data tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from raw_datasets import make_davis


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    """DAVIS-2016 with the sequences bear (4 frames) and cows (3) for training and camel (3) for validation."""
    return make_davis(tmp_path / "DAVIS", {"bear": 4, "cows": 3}, {"camel": 3})
