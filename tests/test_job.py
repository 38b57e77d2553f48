"""How a process joins its job, and how it ends when something fails."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import jax
import pytest
from loopback import job_environments

import evaluate
from configs import base, synthetic
from cosnet_jax import job
from cosnet_jax.errors import InputError

PROGRAM = """
import os
import signal
import time

from configs import base
from cosnet_jax import job
from cosnet_jax.errors import InputError

settings = base.get_config().distributed
settings.enabled = True
with job.several_processes():
    job.start(settings)
    job.agree(True)
"""


def start_two(work):
    """Starts two processes of a job, which do this work."""
    command, root = [sys.executable, "-c", PROGRAM + textwrap.indent(work, "    ")], Path(__file__).parents[1]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen(command, cwd=root, env=own, **pipes) for own in job_environments(2, devices=1)]


def finish(processes):
    """Waits for processes that have little left to do; returns each one's status and, if any, its error."""
    try:
        outputs = [process.communicate(timeout=60)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    lines = [[line for line in output.splitlines() if "error" in line.lower()] for output in outputs]
    assert all(len(each) <= 1 for each in lines), outputs
    return [(process.returncode, *each) for process, each in zip(processes, lines, strict=True)]


@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_process_that_fails_ends_the_others_which_wait_for_it(number):
    work = f"if job.process()[0] == {number}: raise InputError('a file is broken')\njob.agree(True)"
    results = finish(start_two(work))
    assert results[number] == (1, "error: a file is broken")
    other = 1 - number
    lost = f"error: process {other} stops: process {number} was killed or failed, see its output"
    assert results[other] == (1, lost)


def test_sigterm_ends_a_process_that_has_nothing_to_save_and_so_the_others():
    work = "job.end_at_sigterm()\nif not job.is_first(): os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(30)"
    (status, line), (killed,) = finish(start_two(work))
    assert killed == -signal.SIGTERM
    assert (status, line) == (1, "error: process 0 stops: process 1 was killed or failed, see its output")


@pytest.mark.parametrize(("lost", "slept"), [(0, []), (1, [job.LAST_SECONDS])])
def test_where_process_0_is_lost_the_others_end_before_jax_aborts_them(monkeypatch, capsys, lost, slept):
    waited, ended = [], []
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr("os._exit", ended.append)
    monkeypatch.setattr(job, "_ending", threading.Lock())
    job._give_up(2, lost)
    assert (waited, ended) == (slept, [1])
    assert capsys.readouterr().err == f"error: process 2 stops: process {lost} was killed or failed, see its output\n"


def test_an_evaluation_is_ended_by_sigterm(tmp_path, monkeypatch):
    """What `start` and JAX do with it in several processes is the test above."""
    asked = []
    monkeypatch.setattr(job, "start", lambda settings: asked.append("start"))
    monkeypatch.setattr(job, "end_at_sigterm", lambda: asked.append("end at SIGTERM"))
    config = synthetic.get_config("smoke")
    with pytest.raises(InputError, match="nowhere"):
        evaluate.evaluate(config, tmp_path, str(tmp_path / "nowhere"), None)
    assert asked == ["start", "end at SIGTERM"]


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


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("UNAVAILABLE: failed to connect", "error: process 0 lost the connection to another process (UNAVAILABLE: "),
        ("FAILED_PRECONDITION: Gloo all-reduce failed: Connection closed by peer", "error: process 0 lost the "),
        ("RESOURCE_EXHAUSTED: Out of memory, nccl-all-reduce.1", "Traceback"),
        ("INTERNAL: CUBLAS_STATUS_EXECUTION_FAILED", "Traceback"),
    ],
)
def test_an_error_of_the_device_is_not_called_a_lost_connection(monkeypatch, capsys, message, said):
    monkeypatch.setattr(job, "_partners", ["another"])
    monkeypatch.setattr(job, "LOSS_SECONDS", 0)
    monkeypatch.setattr(job, "_end", lambda status: sys.exit())
    with pytest.raises(SystemExit), job.several_processes():
        raise jax.errors.JaxRuntimeError(message)
    printed = capsys.readouterr().err
    assert printed.startswith(said)
    assert message in printed


def test_a_process_alone_raises_its_errors():
    with pytest.raises(InputError, match="broken"), job.several_processes():
        raise InputError("a file is broken")


@pytest.mark.parametrize(("is_first", "order"), [(True, ["work", "wait"]), (False, ["wait", "work"])])
def test_the_first_process_does_its_work_before_the_others(monkeypatch, is_first, order):
    done, points = [], []
    monkeypatch.setattr(job, "_partners", ["another"])
    monkeypatch.setattr(job, "is_first", lambda: is_first)
    monkeypatch.setattr(job, "wait_for_others", lambda point: done.append("wait") or points.append(point))
    for _ in range(2):
        with job.first_before_others("here"):
            done.append("work")
    assert done == order * 2
    assert points[0] != points[1]  # JAX refuses a barrier that was passed
    with pytest.raises(InputError), job.first_before_others("here"):
        raise InputError("nothing to wait for")
    assert done.count("wait") == (2 if is_first else 3)


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
