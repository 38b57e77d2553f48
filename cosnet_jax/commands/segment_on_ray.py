"""Segments many videos on the machines of a Ray cluster; all of them see the same folders."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from cosnet_jax.commands.segment_video import Outcome, SegmentSettings, VideoProcessor
from cosnet_jax.errors import InputError
from cosnet_jax.inference.provenance import digest_of_code
from cosnet_jax.parallel import use_cpu

LOCAL = "local"
CORES_PER_WORKER = 4  # of machines without accelerators
RETRIES = 2  # of a video whose worker is lost
# How a worker asks Ray for an accelerator of its own.
ACCELERATORS: dict[str, dict[str, Any]] = {"GPU": {"num_gpus": 1}, "TPU": {"resources": {"TPU": 1}}}


class Worker:
    """A process with a GPU or TPU, or some cores, of its own. It keeps its compiled network from video to video.

    It may use so many `cores`, and leaves the machine's accelerators alone unless it is `accelerated`. `code` is the
    digest of the code that the run was started with.

    Raises:
      InputError: the code of this machine is another one, or the network cannot be loaded here.
    """

    def __init__(self, settings: SegmentSettings, cores: int, accelerated: bool, code: str):
        if digest_of_code() != code:
            raise InputError(f"{socket.gethostname()} has another cosnet_jax; expected the same code on all machines")
        os.environ["NPROC"] = str(cores)  # threads of XLA on a CPU, which starts with the first array
        if not accelerated:
            use_cpu()
        self._processor = VideoProcessor(settings)

    def run(self, path: Path, folder: Path) -> Outcome:
        """Segments a video, see `VideoProcessor.run`."""
        return self._processor.run(path, folder, silent=True)


def segment_on_ray(
    jobs: Sequence[tuple[Path, Path]], settings: SegmentSettings, address: str, num_workers: int | None = None
) -> Generator[Outcome]:
    """Segments videos on a Ray cluster. Ray replaces a worker that is lost and tries its video again.

    Args:
      jobs: (video, folder of its results), on a file system that all machines share.
      settings: what to make of each.
      address: of the cluster, as `ray.init` takes it; "local" starts Ray on this machine until the work is done.
      num_workers: None for one for each GPU or TPU, or each `CORES_PER_WORKER` cores where there are none.

    Yields:
      The outcome of each video, as they end.

    Raises:
      InputError: Ray is not installed or not to be reached, or the cluster has nothing for a worker.
    """
    ray = start_ray(address)
    from ray.util import ActorPool

    try:
        count, needs = plan_workers([node["Resources"] for node in ray.nodes() if node["Alive"]], num_workers)
        actor = ray.remote(max_restarts=-1, max_task_retries=RETRIES, **needs)(Worker)
        arguments = settings, needs["num_cpus"], len(needs) > 1, digest_of_code()
        pool, missing, reason = ActorPool([actor.remote(*arguments) for _ in range(count)]), dict(jobs), ""
        for job in jobs:
            pool.submit(lambda worker, job: worker.run.remote(*job), job)
        while pool.has_next():
            try:
                outcome = pool.get_next_unordered()
            except ray.exceptions.RayError as error:
                reason = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
                continue
            del missing[outcome.input]
            yield outcome
        for path, folder in missing.items():
            yield Outcome(path, folder, "failed", error=f"its worker was lost ({reason})")
    finally:
        ray.shutdown()


def start_ray(address: str) -> Any:
    """Connects to a cluster, or starts one on this machine; returns the package `ray`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError("--ray needs the package ray: pip install 'cosnet_jax[ray]'") from None
    own = {"include_dashboard": False} if address == LOCAL else {}
    if address == LOCAL:  # else Ray would keep a token in the home folder, which may be read-only
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        ray.init(address, logging_level="error", log_to_driver=False, **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"--ray {address}: {str(error).splitlines()[0]}; expected the address of a running cluster, or {LOCAL}"
        ) from None
    return ray


def plan_workers(machines: Sequence[dict[str, float]], num_workers: int | None) -> tuple[int, dict[str, Any]]:
    """Returns the number of workers that machines (resources by name) have room for, and what each asks of Ray.

    Raises:
      InputError: no machine has anything for a worker.
    """
    kind = next((kind for kind in ACCELERATORS if any(each.get(kind, 0) >= 1 for each in machines)), None)
    machines = [each for each in machines if each.get(kind or "CPU", 0) >= 1]
    if not machines:
        raise InputError("--ray: no machine of the cluster has CPUs, GPUs or TPUs for work; expected one that does")
    if kind:
        room = sum(int(each[kind]) for each in machines)
        cores = min(int(each.get("CPU", 0) / each[kind]) for each in machines)
        return min(num_workers or room, room), {"num_cpus": cores, **ACCELERATORS[kind]}
    cores = min(CORES_PER_WORKER, int(max(each["CPU"] for each in machines)))
    while cores > 1 and sum(each["CPU"] // cores for each in machines) < (num_workers or 1):
        cores -= 1
    room = int(sum(each["CPU"] // cores for each in machines))
    return min(num_workers or room, room), {"num_cpus": cores}
