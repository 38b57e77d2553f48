"""Batches over the four fake devices, against one device; processes that start, fail and end together."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loopback import free_address, job_environments

from cosnet_jax import distributed, parallel
from cosnet_jax.distributed import DistributedConfig
from cosnet_jax.parallel import Devices

PROGRAM = """
import os, signal, time
from cosnet_jax import distributed, parallel
from cosnet_jax.errors import InputError

with parallel.several_processes():
    distributed.start({"enabled": True, "heartbeat": 5, "timeout": 60})
    parallel.wait_for_others("begin")
"""


@pytest.mark.parametrize(("batch_size", "each"), [(1, 1), (3, 3), (4, 1), (6, 3), (8, 2)])
def test_a_batch_is_split_evenly_over_as_many_devices_as_divide_it(batch_size, each):
    devices = Devices(batch_size)
    run = devices.compile(
        lambda shared, x: {"sum": shared["a"] * x["x"].sum(1), "part": jnp.full(len(x["y"]), len(x["y"]))}
    )
    x, y = np.arange(5.0 * batch_size).reshape(batch_size, 5), np.zeros((batch_size, 2))
    shared = devices.replicate({"a": jnp.array(3.0)})
    for inputs in ({"x": x, "y": y}, jax.device_put({"x": x, "y": y}, jax.devices()[0])):
        results = run(shared, inputs)
        np.testing.assert_allclose(results["sum"], 3 * x.sum(axis=1))
        assert results["part"].tolist() == [each] * batch_size
        assert results["sum"].devices() == {jax.devices()[0]}


def test_a_program_that_another_process_has_written_by_half_is_compiled_anew():
    def compile_again():
        def half_written(x):
            return x + 1

        return jax.jit(half_written)(1)

    assert compile_again() == 2
    (program,) = Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).glob("jit_half_written-*-cache")
    try:
        os.truncate(program, program.stat().st_size // 2)
        assert compile_again() == 2
    finally:
        program.unlink()


def run_two(work):
    """Runs this work in two processes; returns each one's exit status and what it wrote to stderr."""
    command, pipes = [sys.executable, "-c", PROGRAM + textwrap.indent(work, "    ")], {"stderr": subprocess.PIPE}
    root = Path(__file__).parents[1]
    processes = [subprocess.Popen(command, cwd=root, env=own, **pipes) for own in job_environments(2, devices=1)]
    try:
        return [(process.returncode, errors.decode()) for process in processes for errors in process.communicate()[1:]]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.process
@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_process_that_fails_ends_the_others(number):
    results = run_two(
        f"if parallel.process()[0] == {number}: raise InputError('a file is broken')\nparallel.wait_for_others('end')"
    )
    assert results[number] == (1, results[number][1])
    assert "error: a file is broken\n" in results[number][1]
    assert results[1 - number][0] != 0


@pytest.mark.process
@pytest.mark.slow
def test_sigterm_ends_a_process_with_nothing_to_save_and_the_others():
    work = "parallel.end_at_sigterm()\nif not parallel.is_first(): os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)"
    (status, _), (killed, _) = run_two(work)
    assert killed == -signal.SIGTERM
    assert status == -signal.SIGABRT


@pytest.mark.process
@pytest.mark.slow
def test_a_process_whose_partner_never_starts_ends_after_its_timeout():
    program = PROGRAM.replace('"timeout": 60', '"timeout": 5')
    environment = {"JAX_COORDINATOR_ADDRESS": free_address(), "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}
    since = time.monotonic()
    assert subprocess.run([sys.executable, "-c", program], env={**os.environ, **environment}).returncode != 0
    assert time.monotonic() - since < 40


def test_a_process_alone_warns_of_a_coordinator_it_does_not_join(monkeypatch, capsys):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "localhost:1")
    distributed.start(DistributedConfig())
    assert "--config.distributed.enabled=true" in capsys.readouterr().err


def test_compiled_programs_are_kept_in_the_users_cache(monkeypatch, tmp_path):
    set_to = {}
    monkeypatch.setattr("jax.config.update", set_to.__setitem__)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    parallel.keep_compiled()
    assert set_to == {}  # the tests' own folder, JAX_COMPILATION_CACHE_DIR, wins
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    parallel.keep_compiled()
    assert set_to["jax_compilation_cache_dir"] == str(tmp_path / "cosnet_jax" / "programs")
    assert set_to["jax_compilation_cache_max_size"] == parallel.CACHE_BYTES
