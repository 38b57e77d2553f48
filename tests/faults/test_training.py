"""A hurt training ends as one that nothing happened to: the short form of `make soak`, which sends signals too."""

from __future__ import annotations

import pytest
from faults.signals import inject_faults

SHORT = ("checkpoint bit-flipped", "loss not finite")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the trainings run; what they compiled stays for the next process."""
    return tmp_path_factory.mktemp("hurt")


def test_faults_lose_nothing(folder):
    results = inject_faults(folder, len(SHORT), faults=SHORT)
    assert results.keys() == set(SHORT)
    assert {name: result.losses for name, result in results.items() if result.losses} == {}
