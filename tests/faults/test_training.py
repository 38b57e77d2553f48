"""A training that is hurt ends as one that nothing happened to; the short form of `make soak`."""

from __future__ import annotations

import pytest
from faults.signals import SIGNALS, inject_faults, send_signals

SHORT = ("checkpoint bit-flipped", "disk full", "loss not finite", "second training")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the trainings run; what they compiled stays for the next process."""
    return tmp_path_factory.mktemp("hurt")


def test_faults_lose_nothing(folder):
    results = inject_faults(folder, len(SHORT), faults=SHORT)
    assert results.keys() == set(SHORT)
    assert {name: result.losses for name, result in results.items() if result.losses} == {}


def test_signals_lose_nothing(folder):
    results = send_signals(folder, trainings=2)
    assert sum(result.injected for result in results.values()) >= 2
    assert results.keys() == set(SIGNALS)
    assert {name: result.losses for name, result in results.items() if result.losses} == {}
