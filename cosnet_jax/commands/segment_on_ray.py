"""Segments many videos on the machines of a Ray cluster; all of them see the same folders."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from cosnet_jax.commands.segment_video import Outcome, VideoProcessor
from cosnet_jax.errors import InputError
from cosnet_jax.parallel import use_cpu

CORES_PER_WORKER = 4  # of machines without accelerators
RETRIES = 2  # of a video whose worker is lost


class Worker(VideoProcessor):
    """A process that works in the same folder as the one that started it, with an accelerator or some cores."""

    def __init__(self, settings: dict[str, Any], folder: str, cores: int | None):
        with contextlib.suppress(OSError):  # this machine lacks it: absolute paths still work
            os.chdir(folder)
        if cores:
            os.environ["NPROC"] = str(cores)  # threads of XLA on a CPU, which starts with the first array
            use_cpu()
        super().__init__(**settings)


def segment_on_ray(
    jobs: Sequence[tuple[Path, Path]], settings: dict[str, Any], address: str, num_workers: int | None = None
) -> Generator[Outcome]:
    """Segments videos on a Ray cluster. Ray replaces a worker that is lost and tries its video again.

    Args:
      jobs: (video, folder of its results), on a file system that all machines share.
      settings: of `VideoProcessor`.
      address: of the cluster, as `ray.init` takes it; "local" starts Ray on this machine until the work is done.
      num_workers: at most so many; None for one for each GPU or TPU, or each `CORES_PER_WORKER` cores where there are
        none.

    Yields:
      The outcome of each video, as they end.

    Raises:
      InputError: Ray is not to be reached, or the cluster has nothing for a worker.
      ModuleNotFoundError: Ray is not installed.
    """
    import ray
    from ray.util import ActorPool

    is_local = address == "local"
    if is_local:  # else Ray would keep a token in the home folder, which may be read-only
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        ray.init(
            address, logging_level="error", log_to_driver=False, **{"include_dashboard": False} if is_local else {}
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"--ray {address}: {str(error).splitlines()[0]}; expected a running cluster, or local"
        ) from None
    try:
        count, needs = plan_workers([node["Resources"] for node in ray.nodes() if node["Alive"]], num_workers)
        actor = ray.remote(max_restarts=-1, max_task_retries=RETRIES, **needs)(Worker)
        workers = [actor.remote(settings, os.getcwd(), needs.get("num_cpus")) for _ in range(count)]
        pool, missing, reason = ActorPool(workers), dict(jobs), ""
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


def plan_workers(machines: Sequence[dict[str, float]], num_workers: int | None) -> tuple[int, dict[str, Any]]:
    """Returns the number of workers that machines (resources by name) have room for, and what each asks of Ray.

    Raises:
      InputError: no machine has anything for a worker.
    """
    for resource, needs in (("GPU", {"num_gpus": 1}), ("TPU", {"resources": {"TPU": 1}})):
        if room := sum(int(each.get(resource, 0)) for each in machines):
            return min(num_workers or room, room), needs
    for cores in range(CORES_PER_WORKER, 0, -1):
        room = sum(int(each.get("CPU", 0) // cores) for each in machines)
        if room and (room >= (num_workers or 1) or cores == 1):
            return min(num_workers or room, room), {"num_cpus": cores}
    raise InputError("--ray: no machine of the cluster has CPUs, GPUs or TPUs for work; expected one that does")
