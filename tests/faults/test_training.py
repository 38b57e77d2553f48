"""A hurt training ends as one that nothing happened to: the short form of `make soak`."""

from __future__ import annotations

import pytest
from faults import victims

NAMES = ("checkpoint bit-flipped", "loss not finite", "SIGTERM", "metrics torn", "checkpoints deleted", "disk full")
SHARES = {(victims.TRAINING, ""): 0.7, (victims.INTERRUPTED, "segment"): 0.3}  # SIGKILL: tests/training/test_train.py


@pytest.mark.slow
def test_faults_lose_nothing(tmp_path):
    results = victims.inject(tmp_path, 7, shares=SHARES, names=NAMES, step_pattern="still")
    assert {name: result.losses for name, result in results.items() if result.losses} == {}
    assert "segment, SIGINT" in results
    assert len(results.keys() & set(NAMES)) > 2
