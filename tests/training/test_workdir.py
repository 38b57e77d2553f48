"""One training in a working directory."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tiny_network import tiny_synthetic

from cosnet_jax.errors import InputError
from cosnet_jax.training.workdir import LOCK_FILE, claimed_workdir

HOLD = "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print(flush=True); time.sleep(99)"


def test_a_second_training_is_refused_and_leaves_the_first_alone(tmp_path):
    config = tiny_synthetic()
    with claimed_workdir(config, tmp_path):
        with pytest.raises(InputError, match="another process trains there"), claimed_workdir(config, tmp_path):
            pass
        with pytest.raises(InputError, match="another process trains there"), claimed_workdir(config, tmp_path):
            pass
    with claimed_workdir(config, tmp_path):
        pass


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
