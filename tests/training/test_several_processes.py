"""Several processes on the loopback interface train and evaluate as one process does, whatever devices each has."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from loopback import job_environments
from tiny_network import make_tiny

from configs import synthetic
from cosnet_jax.checkpoints.load import load_checkpoint
from cosnet_jax.checkpoints.store import LATEST, find_checkpoint
from cosnet_jax.training.metric_log import METRICS_FILE, read_metrics

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]


def tiny():
    """A configuration that trains in seconds, by SGD."""
    config = make_tiny(synthetic.get_config("smoke"))
    config.size = (32, 32)
    config.batch_size = 8
    config.data.synthetic.update({"num_videos": 3, "num_val_videos": 3, "num_frames": 4, "num_stills": 9})
    config.data.synthetic.size = (32, 32)
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.003
    config.total_steps = 20
    config.step_pattern = "video"
    config.validate_every = 10
    config.checkpoint_every = 1000
    return config


class Job:
    """The processes of one training or other program, each with some devices."""

    def __init__(self, workdir: Path, processes: int, devices: int, program: str = "train.py", *flags: str):
        file = workdir.parent / "tiny.py"
        file.write_text(
            "from tests.training.test_several_processes import tiny\n\n\ndef get_config():\n    return tiny()\n"
        )
        command = [sys.executable, "-u", program, f"--config={file}", f"--workdir={workdir}", *flags]
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
        if processes > 1:
            command.append("--config.distributed.enabled=true")
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.processes = [
            subprocess.Popen(command, cwd=ROOT, env={**environment, "PYTHONPATH": path}, **pipes)
            for environment in job_environments(processes, devices)
        ]

    def wait_for(self, text: str) -> None:
        """Waits until process 0 prints a line with this text."""
        for line in self.processes[0].stdout:
            if text in line:
                return
        pytest.fail(f"process 0 ended without {text!r}")

    def finish(self, timeout: float = 300) -> list[tuple[int, str]]:
        """Waits for all processes; returns their exit statuses and the rest of what they print."""
        try:
            outputs = [process.communicate(timeout=timeout)[0] for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        return [(process.returncode, output) for process, output in zip(self.processes, outputs, strict=True)]


def train(workdir: Path) -> Path:
    """Trains to the end, as one process with one device."""
    ((status, output),) = Job(workdir, processes=1, devices=1).finish()
    assert status == 0, output
    return workdir


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The working directory of a training on one device."""
    return train(tmp_path_factory.mktemp("alone") / "work")


def check_equal(workdir: Path, expected: Path, tolerance: float = 1e-5) -> None:
    """Compares the losses and scores of two trainings, and their final parameters and statistics.

    Float32 sums in another order differ by 1e-7, and ReLU6 can turn that into more where a value is close to a kink. So
    parameters are compared by the norm of all of them together.
    """
    records = [read_metrics(folder / METRICS_FILE) for folder in (workdir, expected)]
    assert len(records[1]) == 22
    for given, wanted in zip(*records, strict=True):
        assert (given["step"], given["kind"]) == (wanted["step"], wanted["kind"])
        for name in {"loss", "coattention", "side", "J", "J_single_frame"} & wanted.keys():
            assert given[name] == pytest.approx(wanted[name], rel=tolerance, abs=1e-6), (given["step"], name)
    ours, theirs = (jax.tree.leaves(load_checkpoint(folder / LATEST)[0]) for folder in (workdir, expected))
    ours, theirs = (np.concatenate([np.ravel(leaf) for leaf in leaves]) for leaves in (ours, theirs))
    assert np.linalg.norm(ours - theirs) <= tolerance * np.linalg.norm(theirs)


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_job(tmp_path):
    job = Job(tmp_path / "work", processes=2, devices=2)
    job.wait_for("step 2:")
    job.processes[1].kill()
    (status, output), _ = job.finish(timeout=120)
    assert status in (1, -signal.SIGABRT), output  # by an operation that both take part in, or by JAX's heartbeat


def test_two_processes_train_as_one_and_lose_nothing_when_one_is_stopped(alone, tmp_path):
    workdir = tmp_path / "work"
    job = Job(workdir, processes=2, devices=2)
    job.wait_for("step 2:")  # the validation after step 10 takes longer than SIGTERM needs to be heard
    job.processes[1].send_signal(signal.SIGTERM)
    results = job.finish()
    assert [status for status, _ in results] == [0, 0], results
    saved = int(find_checkpoint(workdir / LATEST).name)
    assert 2 <= saved < 20
    assert f"SIGTERM: saved step {saved}" in results[0][1]
    assert not re.search("^(step|SIGTERM)", results[1][1], re.MULTILINE)  # one process speaks

    check_equal(train(workdir), alone)
    counts = Counter((record["step"], record["kind"]) for record in read_metrics(workdir / METRICS_FILE))
    assert set(counts.values()) == {1} and {(10, "validation"), (20, "validation")} <= counts.keys()
    assert len(list((workdir / "tensorboard").iterdir())) == 2  # one for each time it was started


@pytest.mark.slow
def test_two_processes_share_the_sequences_of_an_evaluation(alone, tmp_path):
    results = {}
    for processes in (1, 2):
        workdir = tmp_path / str(processes) / "work"
        workdir.parent.mkdir()
        job = Job(workdir, processes, 1, "evaluate.py", f"--checkpoint={alone}")
        outputs = job.finish()
        assert [status for status, _ in outputs] == [0] * processes, outputs
        assert "synthetic: J " in outputs[0][1]
        assert all("segmenting" not in output and "J " not in output for _, output in outputs[1:])
        results[processes] = json.loads((workdir / "results.json").read_text())
        del results[processes]["config"]["distributed"]
        assert (workdir / "report.html").exists()
    assert results[2] == results[1]
