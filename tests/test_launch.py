"""The launch recipes, run on the loopback interface with stand-ins for what only a cluster has.

- `slurm.sh` runs as a batch script does, with a fake `srun` that starts two tasks with SLURM's variables.
- `kubernetes.yaml` is read, and the command and the environment of its container run as its two pods would.
- `tpu.sh` runs with a fake `gcloud` that records what it is asked for; the command for the hosts runs with a fake
  Python.

What needs a cluster is not tested: `sbatch` and the header of `slurm.sh`, JobSet's own work, `gcloud`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from compilation import compilation_flags
from loopback import free_address, free_port

from cosnet_jax.checkpoints.store import LATEST, find_checkpoint
from cosnet_jax.training.metric_log import METRICS_FILE, read_metrics

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
SETTINGS = (
    "size=32,32", "step_pattern=video", "validate_every=0", "model.blocks=4", "model.channels=8",
    "model.head_features=4", "model.aspp_depth=4", "model.aspp_rates=2,", "data.synthetic.num_videos=3",
    "data.synthetic.num_frames=4", "data.synthetic.size=32,32",
)  # fmt: skip
CONFIG = "--config=configs/synthetic.py:smoke"
FLAGS = [f"--config.{setting}" for setting in SETTINGS]

SRUN = """#!/usr/bin/env bash
printf '%s\\n' "$@" "$JAX_LOCAL_DEVICE_IDS" > "$RECORD"
while [[ $1 == --* ]]; do shift; done
export SLURM_STEP_NODELIST=localhost,other SLURM_NTASKS=2 SLURM_STEP_NUM_NODES=2 SLURM_LOCALID=0
SLURM_PROCID=0 "$@" & first=$!
SLURM_PROCID=1 "$@" & second=$!
wait $first && wait $second
"""
RECORDER = """#!/usr/bin/env bash
printf '%s\\0' "$@" > "$RECORD"
"""


@pytest.fixture
def environment(tmp_path):
    """The environment of a user whose PATH has a folder of stand-ins first, then this Python's."""
    path = os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATH": path, "XLA_FLAGS": compilation_flags(devices=1), "PYTHONPATH": str(ROOT)}
    return {**os.environ, **own, "RECORD": str(tmp_path / "record")}


def put(path: Path, text: str) -> None:
    """Writes a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def recorded(tmp_path: Path) -> list[str]:
    """The arguments that a stand-in was called with."""
    return (tmp_path / "record").read_text().split("\0")[:-1]


@pytest.mark.slow
def test_slurm_trains_in_one_process_on_each_node(tmp_path, environment):
    script = LAUNCH / "slurm.sh"
    first_command = next(line for line in script.read_text().splitlines() if line and not line.startswith("#"))
    assert "#SBATCH" not in script.read_text().partition(first_command)[2]  # sbatch reads no further
    put(tmp_path / "bin" / "srun", SRUN)
    workdir, jax_ports = tmp_path / "work", 65535 - 2**12 + 1  # JAX takes the job's number from there as port
    job = free_port(jax_ports + os.getpid() % 2**11, 65535) - jax_ports
    done = subprocess.run(
        ["bash", script, CONFIG, f"--workdir={workdir}", *FLAGS],
        cwd=ROOT, env={**environment, "SLURM_JOB_ID": str(job), "SLURM_GPUS_ON_NODE": "2"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "in 2 process(es)" in done.stdout
    assert find_checkpoint(workdir / LATEST).name == "4"
    assert [record["step"] for record in read_metrics(workdir / METRICS_FILE)] == [1, 2, 3, 4]
    srun = (tmp_path / "record").read_text().splitlines()
    assert srun[:4] == ["--kill-on-bad-exit=1", "python", "-u", "train.py"]
    assert srun[-1] == "0,1"  # the one process of a node takes both GPUs

    put(tmp_path / "bin" / "srun", "#!/bin/sh\nexit 7\n")
    assert subprocess.run(["bash", script, CONFIG], cwd=ROOT, env=environment, check=False).returncode == 7


def jobset() -> tuple[dict, dict]:
    """The JobSet, and the container of its pods."""
    document = yaml.safe_load((LAUNCH / "kubernetes.yaml").read_text())
    (job,) = document["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    return document, container


def test_the_names_and_numbers_of_the_jobset_fit_together():
    document, container = jobset()
    assert (document["apiVersion"], document["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (job,) = document["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    environment = {entry["name"]: entry for entry in container["env"]}
    # A pod's name is JOBSET-JOB-REPLICA-INDEX.JOBSET.
    name = document["metadata"]["name"]
    port = container["ports"][0]["containerPort"]
    assert environment["JAX_COORDINATOR_ADDRESS"]["value"] == f"{name}-{job['name']}-0-0.{name}:{port}"
    assert job["replicas"] == 1 and spec["completionMode"] == "Indexed" and spec["backoffLimit"] == 0
    assert "job-completion-index" in environment["JAX_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert spec["parallelism"] == spec["completions"] == int(environment["JAX_NUM_PROCESSES"]["value"])
    pod = spec["template"]["spec"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def start_pods(tmp_path: Path, environment: dict[str, str]) -> list[subprocess.Popen]:
    """Starts the container's command twice, with its volume in a folder and its pods on this machine."""
    _, container = jobset()
    command = [argument.replace("/volume", str(tmp_path)) for argument in container["command"]]
    command[command.index("--config=configs/davis16.py")] = CONFIG
    flags = [*FLAGS, "--config.total_steps=10000", "--config.checkpoint_every=10000"]
    variables, pods = {entry["name"]: entry.get("value") for entry in container["env"]}, []
    variables["JAX_COORDINATOR_ADDRESS"] = free_address()
    for index in range(int(variables["JAX_NUM_PROCESSES"])):
        own = {**environment, **variables, "JAX_PROCESS_ID": str(index)}
        pods.append(subprocess.Popen([*command, *flags], cwd=ROOT, env=own, stdout=subprocess.PIPE, text=True))
    return pods


@pytest.mark.slow
def test_pods_train_and_an_evicted_one_stops_both_with_the_status_that_starts_them_again(tmp_path, environment):
    pods = start_pods(tmp_path, environment)
    try:
        assert any(line.startswith("step 2:") for line in pods[0].stdout)
        pods[1].send_signal(signal.SIGTERM)
        output = pods[0].communicate(timeout=120)[0]
        assert [pod.wait(timeout=120) for pod in pods] == [75, 75]
    finally:
        for pod in pods:
            pod.kill()
            pod.communicate()
    saved = find_checkpoint(tmp_path / "davis16" / LATEST).name
    assert f"SIGTERM: saved step {saved}; the same command continues" in output


def test_tpu_sends_the_flags_as_they_are_to_all_hosts(tmp_path, environment):
    put(tmp_path / "bin" / "gcloud", RECORDER)
    flags = ["--config=configs/davis16.py", "--workdir=/mnt/my run", "--config.data.still_weights=duts=2;'$HOME'"]
    subprocess.run(["bash", LAUNCH / "tpu.sh", "pod", "us-central2-b", *flags], env=environment, check=True)
    *gcloud, command = recorded(tmp_path)
    assert gcloud == ["compute", "tpus", "tpu-vm", "ssh", "pod", "--zone=us-central2-b", "--worker=all"]

    put(tmp_path / "cosnet_jax" / ".venv" / "bin" / "python", RECORDER)
    shell = command.removeprefix("--command=")
    subprocess.run(["bash", "-c", shell], cwd=tmp_path, env=environment, check=True)
    assert recorded(tmp_path) == ["-u", "train.py", *flags, "--config.distributed.enabled=true"]
