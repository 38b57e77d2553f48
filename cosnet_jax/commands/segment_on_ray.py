"""Segments many videos on the machines of a Ray cluster; all of them see the same folders."""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from cosnet_jax.commands.segment_output import remove_unfinished
from cosnet_jax.commands.segment_video import SegmentSettings, VideoSegmenter
from cosnet_jax.errors import InputError
from cosnet_jax.inference.provenance import digest_of_code
from cosnet_jax.parallel import use_cpu
from cosnet_jax.video.reader import open_video

LOCAL = "local"
STATUSES = ("done", "found", "failed")
ATTEMPTS = 3  # a video is given up when its workers were lost so often
CORES_PER_WORKER = 4  # of machines without accelerators
# How a worker asks Ray for an accelerator of its own.
ACCELERATORS: dict[str, dict[str, Any]] = {"GPU": {"num_gpus": 1}, "TPU": {"resources": {"TPU": 1}}}
START_ATTEMPTS = 3  # no worker is started any more when so many in a row failed to, and no video was finished meanwhile
STOP_SECONDS = 10  # to end a worker that is at work
START_SECONDS = 600  # a run ends when nothing is under way and no worker started for so long

Job = tuple[Path, Path]  # a video, and the folder of its results


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a video.

    Attributes:
      input: the video.
      output: the folder of its results.
      status: one of `STATUSES`; "found" was done before.
      frames: their number; 0 where the video could not be opened.
      seconds: of work.
      attempts: how often a worker took the video; more than once where a worker was lost.
      error: why it failed, else "".
    """

    input: str
    output: str
    status: str
    frames: int = 0
    seconds: float = 0.0
    attempts: int = 1
    error: str = ""


class Worker:
    """A process with a GPU or TPU, or some cores, of its own. It keeps its compiled network from video to video."""

    def start(self, settings: SegmentSettings, cores: int, accelerated: bool, code: str) -> None:
        """Loads the network; comes before `work`.

        Args:
          settings: what to make of each video.
          cores: of the CPU that the worker may use.
          accelerated: whether it has an accelerator of its own; else it leaves those of the machine alone.
          code: digest of the code that the run was started with, see `digest_of_code`.

        Raises:
          InputError: the code of this machine is another one, or the network cannot be loaded here.
        """
        if digest_of_code() != code:
            raise InputError(f"{socket.gethostname()} has another cosnet_jax; expected the same code on all machines")
        os.environ["NPROC"] = str(cores)  # threads of XLA on a CPU, which starts with the first array
        if not accelerated:
            use_cpu()
        self._segmenter = VideoSegmenter(settings)

    def work(self, path: Path, folder: Path) -> Outcome:
        """Segments a video, unless it is done."""
        start, status, frames, problem = time.monotonic(), "done", 0, ""
        try:
            video = open_video(path)
            frames = len(video)
            if self._segmenter.is_done(video, folder):
                status = "found"
            else:
                self._segmenter.segment(video, folder, silent=True)
        except InputError as error:
            status, problem = "failed", str(error)
        return Outcome(str(path), str(folder), status, frames, round(time.monotonic() - start, 3), error=problem)


def segment_on_ray(
    jobs: Sequence[Job], settings: SegmentSettings, address: str, num_workers: int = 0
) -> Generator[Outcome]:
    """Segments videos on a Ray cluster.

    Each worker has a GPU or TPU, or some cores where there is none. A worker that is lost (killed, out of memory, its
    machine gone) is replaced, and its video is given to another one. Where the run ends early (Ctrl-C), the workers end
    with it and leave no unfinished file.

    Args:
      jobs: (video, folder of its results), on a file system that all machines share.
      settings: what to make of each.
      address: of the cluster, as `ray.init` takes it: "auto", "HOST:PORT" or "ray://HOST:PORT"; or "local", which
        starts Ray on this machine until the work is done.
      num_workers: at most one for each GPU, TPU or core of the cluster; 0 for one for each GPU or TPU, or each
        `CORES_PER_WORKER` cores.

    Yields:
      The outcome of each video, as they end.

    Raises:
      InputError: Ray is not installed or not to be reached, or no worker starts, e.g. because the machines have
        another code.
    """
    ray, crew = start_ray(address), None
    try:
        crew = Crew(ray, *plan_workers(ray, settings, num_workers))
        todo, attempts = deque(jobs), dict.fromkeys(jobs, 0)
        while todo or crew.running:
            crew.hand_out(todo)
            if (ended := crew.wait()) is None:
                continue
            job, outcome, reason = ended
            attempts[job] += 1
            if outcome is None and attempts[job] < ATTEMPTS:
                todo.append(job)
                continue
            if outcome is None:
                remove_unfinished(job[1])
                outcome = _failed(job, f"its worker was lost {ATTEMPTS} times ({reason})")
            yield dataclasses.replace(outcome, attempts=attempts[job])
    finally:
        interrupted = crew.stop() if crew else []
        ray.shutdown()
        for _, folder in interrupted:
            remove_unfinished(folder)


class Crew:
    """The workers of a cluster. Only one that has started gets videos; one that is lost is replaced.

    A worker starts when the cluster has room for it. It may never have: others use it too, or a machine is lost.

    Attributes:
      running: the videos that workers are at, each with its worker, by the result to come.
    """

    def __init__(self, ray: Any, count: int, make_worker: Callable[[], tuple[Any, Any]]):
        """Starts no worker yet.

        Args:
          ray: the package, connected to a cluster.
          count: the most workers.
          make_worker: makes a worker and has it start; returns it and the answer to come.
        """
        self._ray, self._count, self._make_worker = ray, count, make_worker
        self._starting: dict[Any, Any] = {}  # workers by the answer to come
        self._idle: list[Any] = []
        self._failed_starts, self._reason = 0, ""  # since a video was finished
        self.running: dict[Any, tuple[Job, Any]] = {}

    def hand_out(self, todo: deque[Job]) -> None:
        """Gives videos, which leave `todo`, to the workers without one, and starts more workers for the rest."""
        while todo and self._idle:
            job, worker = todo.popleft(), self._idle.pop()
            self.running[worker.work.remote(*job)] = job, worker
        missing = min(self._count - len(self.running), len(todo)) - len(self._starting)
        for _ in range(missing if self._failed_starts < START_ATTEMPTS else 0):
            worker, answer = self._make_worker()
            self._starting[answer] = worker

    def wait(self) -> tuple[Job, Outcome | None, str] | None:
        """Waits until a worker is done with a video, has started, or is lost.

        Returns:
          The video that a worker is done with, its outcome, and ""; if its worker was lost, None and why. None if it
          was about no video.

        Raises:
          InputError: no worker is at work, and none started within `START_SECONDS`, or all failed to start.
        """
        waiting = [*self._starting, *self.running]
        if not waiting:
            raise InputError(f"--ray: {self._failed_starts} workers in a row failed to start: {self._reason}")
        ended, _ = self._ray.wait(waiting, timeout=None if self.running else START_SECONDS)
        if not ended:
            raise InputError(
                f"--ray: no worker started within {START_SECONDS / 60:g} minutes; expected room for one in the cluster "
                f"(`ray status` tells which machines are there and what others use)"
            )
        result = ended[0]
        if result in self._starting:
            worker = self._starting.pop(result)
            try:
                self._ray.get(result)
                self._idle.append(worker)
            except self._ray.exceptions.RayError as error:
                self._ray.kill(worker, no_restart=True)
                self._failed_starts, self._reason = self._failed_starts + 1, _reason(error)
            return None
        job, worker = self.running.pop(result)
        try:
            outcome = self._ray.get(result)
        except self._ray.exceptions.RayTaskError as error:  # not foreseen; the other videos go on
            outcome = _failed(job, repr(error.cause))
        except self._ray.exceptions.RayError as error:  # the worker's process or machine is lost
            self._ray.kill(worker, no_restart=True)  # should it be alive, it must not write on
            return job, None, _reason(error)
        self._idle.append(worker)
        self._failed_starts = 0
        return job, outcome, ""

    def stop(self) -> list[Job]:
        """Ends the workers that are at work, if any still are; returns their videos."""
        for _, worker in self.running.values():
            self._ray.kill(worker, no_restart=True)
        if self.running:
            self._ray.wait(list(self.running), num_returns=len(self.running), timeout=STOP_SECONDS)
        return [job for job, _ in self.running.values()]


def _failed(job: Job, reason: str) -> Outcome:
    return Outcome(str(job[0]), str(job[1]), "failed", error=reason)


def _reason(error: Exception) -> str:
    """The kind of an error of Ray with the last line of its text, which has the cause; or what an `InputError` says."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, InputError):
        return str(cause)
    *_, last = ["", *str(error).strip().splitlines()]
    return f"{type(error).__name__}: {last}"


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


def plan_workers(ray: Any, settings: SegmentSettings, num_workers: int) -> tuple[int, Callable[[], tuple[Any, Any]]]:
    """Returns the number of workers that the machines of a cluster have room for, and what makes one (see `Crew`).

    Raises:
      InputError: no machine has anything for a worker.
    """
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    kind = next((kind for kind in ACCELERATORS if any(each.get(kind, 0) >= 1 for each in resources)), None)
    machines = [(int(each.get("CPU", 0)), int(each.get(kind, 0))) for each in resources]
    if kind:
        cores = min(number // own for number, own in machines if own)
        room = sum(own for _, own in machines)
    else:
        cores = min(CORES_PER_WORKER, max((number for number, _ in machines), default=0))
        if not cores:
            raise InputError(
                f"--ray: the {len(machines)} machine(s) of the cluster have no CPUs, GPUs or TPUs for work; expected "
                f"one that does (`ray start --address=... --num-cpus=N`)"
            )
        while cores > 1 and sum(number // cores for number, _ in machines) < num_workers:
            cores -= 1
        room = sum(number // cores for number, _ in machines)
    remote_worker = ray.remote(num_cpus=cores, **ACCELERATORS.get(kind, {}))(Worker)

    def make_worker() -> tuple[Any, Any]:
        worker = remote_worker.remote()
        return worker, worker.start.remote(settings, max(cores, 1), kind is not None, digest_of_code())

    return min(num_workers or room, room), make_worker
