"""One training in a working directory."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest
from tiny_network import tiny_synthetic

from cosnet_jax.errors import InputError
from cosnet_jax.training.workdir import CONFIG_FILE, LOCK_FILE, claimed_workdir

fcntl = pytest.importorskip("fcntl")
HOLD = "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print(flush=True); time.sleep(99)"


def test_a_second_training_is_refused_and_leaves_the_first_alone(tmp_path):
    config = tiny_synthetic()
    with claimed_workdir(config, tmp_path):
        for _ in range(2):  # the first refusal leaves the lock
            with pytest.raises(InputError, match="another process trains there"), claimed_workdir(config, tmp_path):
                pass
    with claimed_workdir(config, tmp_path):
        pass


def test_a_file_system_without_locks_is_taken_as_it_is(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with claimed_workdir(tiny_synthetic(), tmp_path):
        assert (tmp_path / CONFIG_FILE).is_file()


def test_a_training_that_stopped_at_a_step_that_is_not_finite_may_go_on_by_skipping(tmp_path):
    config = tiny_synthetic()
    for config.nonfinite_steps in ("stop", "skip"):
        with claimed_workdir(config, tmp_path):
            pass


def test_the_number_of_steps_may_rise_and_not_fall(tmp_path, capsys):
    config = tiny_synthetic()
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    for config.total_steps in (10, 20):
        with claimed_workdir(config, tmp_path):
            pass
    assert "total_steps rises from 10: the learning rate ends at 20" in capsys.readouterr().out
    config.total_steps = 19
    with pytest.raises(InputError, match="total_steps was 20 and is 19"), claimed_workdir(config, tmp_path):
        pass


@pytest.mark.process
def test_the_lock_of_a_killed_process_does_not_block(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / LOCK_FILE], stdout=subprocess.PIPE)
    with holder:
        holder.stdout.readline()
        with (
            pytest.raises(InputError, match="another process trains there"),
            claimed_workdir(tiny_synthetic(), tmp_path),
        ):
            pass
        holder.kill()
    with claimed_workdir(tiny_synthetic(), tmp_path):
        pass


def test_a_training_without_a_checkpoint_leaves_its_folder_to_others(tmp_path):
    config = tiny_synthetic()
    for seed in (0, 1):
        config.seed = seed
        with claimed_workdir(config, tmp_path):
            pass
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    config.seed = 2
    with pytest.raises(InputError, match="seed was 1 and is 2"), claimed_workdir(config, tmp_path):
        pass
