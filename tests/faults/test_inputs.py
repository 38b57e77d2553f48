"""Damaged inputs end in a result or one clear line; the short form of `make soak`."""

from __future__ import annotations

import pytest
from faults import fuzzing
from faults.kinds import damaged

# Readers that need JAX are slower, and take seconds to start.
JOBS = {
    "without JAX": {
        "image": 100, "video": 50, "predicted mask": 100, "dataset image": 100, "listing": 60, ".pth": 100,
    },
    "with JAX": {"weights file": 4, "override": 12, "records": 3, "checkpoint folder": 1},
}  # fmt: skip


@pytest.mark.parametrize("jobs", JOBS.values(), ids=JOBS)
def test_damaged_inputs_are_read_or_refused(jobs):
    for tally in fuzzing.fuzz([(kind, 0, count) for kind, count in jobs.items()]):
        assert tally.failures == []
        assert tally.tried == jobs[tally.kind]


@pytest.mark.slow
def test_the_harness_notices_everything_that_a_reader_must_not_do(monkeypatch, tmp_path):
    first, count = 9, 7  # all of the acts
    monkeypatch.setenv("FAULTS_OUTSIDE", str(tmp_path / "outside"))
    monkeypatch.setattr(fuzzing, "MAX_SECONDS", 20.0)  # the memory takes a slow machine seconds
    (tally,) = fuzzing.fuzz([("bad reader", first, count)])
    kind, acts = fuzzing.find_kind("bad reader"), {}
    for number in range(first, first + count):
        acts[number] = damaged(kind, {"act.txt": b""}, number)[1].decode()
    signs = {"crash": "status -11", "hang": "not done after", "write": "reached outside: open", "memory": " MiB"}
    signs["traceback"] = "ZeroDivisionError: a bug"
    assert set(acts.values()) == {"nothing", *signs}
    assert dict(tally.failures).keys() == {number for number, act in acts.items() if act != "nothing"}
    assert all(signs[acts[number]] in what for number, what in tally.failures)
    assert tally.outcomes["read"] == count - len(tally.failures)
