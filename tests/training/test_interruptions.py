"""What a training leaves when it is stopped or killed at a given place. Its steps are stand-ins: nothing compiles."""

from __future__ import annotations

import contextlib
import shutil

import jax
import pytest
from tiny_network import random_variables, tiny_synthetic

from cosnet_jax.checkpoints.store import BEST, LATEST
from cosnet_jax.models.build import build_model
from cosnet_jax.training import loop, validation
from cosnet_jax.training.metric_log import METRICS_FILE, read_metrics

J = {4: 0.5, 8: 0.3}  # of the states after these steps


class Killed(Exception):
    """Takes the place of the end of the process."""


class Stop:
    """Stands in for `parallel.Preemption`."""

    def __init__(self, step):
        self.reached = lambda done: done == step
        self.begin_steps = lambda: None


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Trains until a step after which SIGTERM comes, or until it is killed: in that step, or in its validation."""
    config = tiny_synthetic()
    config.step_pattern, config.batch_size, config.total_steps = "still", 4, 8
    config.log_every, config.checkpoint_every = 3, 4
    config.nonfinite_steps = "skip"
    model, killed = build_model(config.model), {}

    def step(state, batch):
        done = int(state.step) + 1
        if done == killed.get("step"):
            raise Killed
        params = jax.tree.map(lambda leaf: leaf + 1, state.params)
        return state.replace(step=state.step + 1, params=params), {"loss": float(done), "finite": float(done != 5)}

    def validate(segmenter, variables, sequences, frames):
        steps = int(jax.tree.leaves(variables["params"])[0].max())  # it began at 0.1
        if steps == killed.get("validation"):
            raise Killed
        return {"J": J[steps], "J_single_frame": 0.0}

    monkeypatch.setattr(loop, "init_variables", lambda model, seed: random_variables(model, seed))
    monkeypatch.setattr(loop, "make_steps", lambda *_: {"still": step})
    monkeypatch.setattr(loop.parallel, "parallelise", lambda step: step)
    monkeypatch.setattr(validation, "validate", validate)

    def run(stop=None, validate_every=4, **kill):
        config.validate_every = validate_every
        killed.clear()
        killed.update(kill)
        with contextlib.suppress(Killed), contextlib.ExitStack() as resources:
            loop.take_steps(model, config, tmp_path, resources, Stop(stop))
        return read_metrics(tmp_path / METRICS_FILE)

    return run


def steps_in(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def of_kind(records, kind, *names):
    return [tuple(record.get(name) for name in ("step", *names)) for record in records if record["kind"] == kind]


@pytest.mark.parametrize("killed", [{"validation": 4}, pytest.param({"step": 7}, marks=pytest.mark.slow)])
def test_a_training_that_is_killed_while_it_validates_loses_no_step(run, tmp_path, killed):
    run(**killed)
    assert max(steps_in(tmp_path / LATEST)) == 4
    for _ in range(2):  # the command is given once more when all is done
        records = run()
        assert of_kind(records, "validation", "J") == [(4, 0.5), (8, 0.3)]
        assert steps_in(tmp_path / BEST) == [4]
        assert max(steps_in(tmp_path / LATEST)) == 8
        assert of_kind(records, "still")[-1] == (8,)


def test_a_training_that_begins_anew_keeps_its_own_best(run, tmp_path):
    run()
    for step in (4, 8):
        shutil.rmtree(tmp_path / LATEST / str(step))
    assert of_kind(run(), "validation", "J") == [(4, 0.5), (8, 0.3)]
    assert sorted(path.name for path in (tmp_path / BEST).iterdir()) == ["4", "4.outdated"]


@pytest.mark.slow
def test_a_training_may_go_on_without_the_validation_that_was_due(run):
    run(validation=4)
    assert of_kind(run(validate_every=0), "validation") == []


def test_a_training_that_sigterm_stops_records_every_step_once(run):
    assert of_kind(run(stop=5), "still", "loss", "skipped") == [(3, 2.0, None), (5, 4.0, 1)]  # step 5 was skipped
    expected = [(3, 2.0, None), (5, 4.0, 1), (6, 6.0, None), (8, 7.5, None)]
    assert of_kind(run(), "still", "loss", "skipped") == expected
