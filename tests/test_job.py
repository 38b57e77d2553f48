"""How a process joins its job, and how it ends when something fails."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from compilation import compilation_flags

from configs import base
from cosnet_jax import job
from cosnet_jax.errors import InputError

PROGRAM = """
import sys

from configs import base
from cosnet_jax import job
from cosnet_jax.errors import InputError

settings = base.get_config().distributed
settings.enabled = True
with job.several_processes():
    job.start(settings)
    job.agree(True)
    print("started", flush=True)
    {work}
"""


def start_two(work):
    """Starts two processes of a job. They do this work, indented by four spaces, where `number` is the process's."""
    with socket.create_server(("", 0)) as free:
        address = f"localhost:{free.getsockname()[1]}"
    processes = []
    for number in (0, 1):
        environment = {
            **os.environ, "JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(number),
            "XLA_FLAGS": compilation_flags(devices=1),
        }  # fmt: skip
        command = [sys.executable, "-c", PROGRAM.format(work=work)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        root = Path(__file__).parents[1]
        processes.append(subprocess.Popen(command, cwd=root, env=environment, **pipes))
    return processes


def finish(processes):
    """Waits for processes that have little left to do; returns the exit status and the last line of each."""
    try:
        for process in processes:
            assert any(line == "started\n" for line in process.stdout)
        outputs = [process.communicate(timeout=30)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    lines = [output.splitlines()[-1] for output in outputs]
    assert all(sum("error" in line.lower() for line in output.splitlines()) <= 1 for output in outputs), outputs
    return [(process.returncode, line) for process, line in zip(processes, lines, strict=True)]


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_that_fails_ends_the_others_which_wait_for_it(number):
    work = f"if job.process()[0] == {number}:\n        raise InputError('a file is broken')\n    job.agree(True)"
    results = finish(start_two(work))
    assert results[number] == (1, "error: a file is broken")
    other = 1 - number
    lost = f"error: process {other} stops: process {number} was killed or failed, see its output"
    assert results[other] == (1, lost)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InputError("a file is broken"), 1, "error: a file is broken\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (SystemExit(75), 75, ""),
        (SystemExit("a word"), 1, "a word\n"),
        (ZeroDivisionError("by zero"), 1, "ZeroDivisionError: by zero\n"),
    ],
)
def test_the_status_and_what_is_said_are_those_of_a_process_alone(monkeypatch, capsys, error, status, said):
    ended = []
    monkeypatch.setattr(job, "_partners", ["another"])
    monkeypatch.setattr(job, "_end", lambda status: ended.append(status) or sys.exit())
    with pytest.raises(SystemExit), job.several_processes():
        raise error
    assert ended == [status]
    printed = capsys.readouterr().err
    assert printed.endswith(said)
    assert ("Traceback" in printed) == isinstance(error, ZeroDivisionError)


def test_a_process_alone_raises_its_errors():
    with pytest.raises(InputError, match="broken"), job.several_processes():
        raise InputError("a file is broken")


def test_under_slurm_one_process_a_node_keeps_all_of_its_gpus(monkeypatch):
    """JAX would give it the first one alone."""

    class NoPartners:
        watch = staticmethod(lambda lost: None)

    given = []
    monkeypatch.setattr("jax.distributed.initialize", lambda *arguments, **_: given.append(arguments))
    monkeypatch.setattr(job, "wait_for_all", lambda *_: NoPartners())
    monkeypatch.setattr(job, "_partners", [])
    for name, value in {
        "JOB_ID": "5000", "STEP_NODELIST": "node[07-08]", "NTASKS": "2", "STEP_NUM_NODES": "2", "PROCID": "1",
        "LOCALID": "0",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"SLURM_{name}", value)
    settings = base.get_config().distributed
    settings.enabled = True
    job.start(settings)
    assert given == [("node07:62344", 2, 1, None, "deactivate")]
