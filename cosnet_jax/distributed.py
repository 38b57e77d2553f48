"""The processes of a job: how they start together, what the first one does alone, and how they stop together.

A job of several processes runs the same program in each; JAX connects them. A process that is lost ends the others
after `distributed.heartbeat` seconds, with JAX's own message. No other file connects processes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import tqdm
from jax.experimental import multihost_utils

from cosnet_jax.errors import InputError, report_input_errors
from cosnet_jax.section import Section, setting

T = TypeVar("T")
MESSAGE_BYTES = 2048
COORDINATOR_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


@dataclass(frozen=True)
class DistributedConfig(Section, name="distributed"):
    """Several processes, e.g. one a host.

    What is unset comes from the environment variables JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID,
    or from SLURM, Open MPI, Kubernetes or Cloud TPU, which JAX detects.
    """

    enabled: bool = False
    timeout: int = setting(300, low=1)  # seconds to wait for all processes to start
    heartbeat: int = setting(100, low=1)  # seconds after which a silent process counts as lost
    coordinator_address: str = ""  # HOST:PORT of process 0
    num_processes: int | None = setting(None, of=int, low=1)
    process_id: int | None = setting(None, of=int, low=0)


def start(config: Any) -> None:
    """Joins the processes of a job; call it before anything uses a device.

    Args:
      config: `config.distributed`.

    Raises:
      InputError: nothing tells how the processes find each other.
    """
    settings = DistributedConfig.read(config)
    given = [os.environ.get(name) for name in COORDINATOR_VARIABLES]
    if not settings.enabled:
        if any(given):
            named = ", ".join(name for name, value in zip(COORDINATOR_VARIABLES, given, strict=True) if value)
            print(f"warning: {named} is set, but this process works alone; expected --config.distributed.enabled=true "
                  "for several processes", file=sys.stderr)  # fmt: skip
        return
    try:
        count, number = (int(value) if value else None for value in given[1:])
        jax.distributed.initialize(
            settings.coordinator_address or given[0],
            count if settings.num_processes is None else settings.num_processes,
            number if settings.process_id is None else settings.process_id,
            local_device_ids=own_gpus(),
            initialization_timeout=settings.timeout,
            heartbeat_timeout_seconds=settings.heartbeat,
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:300]
        raise InputError(
            f"config.distributed: the processes cannot be connected ({reason}); expected SLURM, Open MPI, Kubernetes, "
            "Cloud TPU, or coordinator_address, num_processes and process_id"
        ) from None


def own_gpus() -> list[int] | None:
    """Returns which of the visible GPUs a process of SLURM or Open MPI takes; None leaves it to JAX.

    JAX gives each process the GPU of its number on the host. That is wrong for a process that is alone on its host,
    which takes all, and for one that sees a single GPU.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = len(visible.split(",")) if visible else len(list(Path("/dev").glob("nvidia[0-9]*")))
    alone = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == "1" or (
        "SLURM_STEP_NUM_NODES" in os.environ and os.environ["SLURM_STEP_NUM_NODES"] == os.environ.get("SLURM_NTASKS")
    )
    cluster = "SLURM_PROCID" in os.environ or "OMPI_COMM_WORLD_RANK" in os.environ
    return list(range(count)) if cluster and count and (alone or count == 1) else None


@contextlib.contextmanager
def several_processes() -> Iterator[None]:
    """Surrounds the work of a program that calls `start`: an error ends this process at once, and so the others.

    Otherwise Python would wait for the others, which wait for this one.
    """
    try:
        yield
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        status: object = 1
        try:
            with report_input_errors():
                raise error
        except SystemExit as ended:
            status = ended.code
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))


def process() -> tuple[int, int]:
    """(index of this process, number of processes)."""
    return jax.process_index(), jax.process_count()


def is_first() -> bool:
    """Returns whether this is process 0, which alone writes logs and configurations."""
    return jax.process_index() == 0


def say(text: str) -> None:
    """Prints a line on the terminal, in process 0 alone, without breaking a progress bar."""
    if is_first():
        tqdm.tqdm.write(text)
        sys.stdout.flush()


def share_of(items: Sequence[T]) -> Sequence[T]:
    """Returns this process's share of a list that all processes have."""
    return items[jax.process_index() :: jax.process_count()]


def on_first(function: Callable[[], None]) -> None:
    """Runs a function in process 0 while the others wait. An `InputError` of it is raised in all of them."""
    message = ""
    if is_first():
        try:
            function()
        except InputError as error:
            message = str(error)
    if jax.process_count() > 1:
        text = np.frombuffer(message.encode()[:MESSAGE_BYTES].ljust(MESSAGE_BYTES), np.uint8)
        text = np.asarray(multihost_utils.broadcast_one_to_all(text), np.uint8)
        message = bytes(text).decode(errors="replace").rstrip()
    if message:
        raise InputError(message)


def wait_for_others(point: str) -> None:
    """Waits until all processes have come to this point of the program, which has a name of its own."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(point)


@contextlib.contextmanager
def first_before_others(point: str) -> Iterator[None]:
    """Runs a block in process 0, then in the others. All processes come to this point of the program equally often."""
    if not is_first():
        wait_for_others(point)
    yield
    if is_first():
        wait_for_others(point)


def agree(decision: bool) -> bool:
    """Returns process 0's decision in all processes."""
    return bool(multihost_utils.broadcast_one_to_all(np.array(decision))) if jax.process_count() > 1 else decision


def gather_arrays(array: np.ndarray) -> np.ndarray:
    """Concatenates the arrays (n_p, ...) of all processes p, in their order; n_p may differ."""
    if jax.process_count() == 1:
        return array
    counts = multihost_utils.process_allgather(np.array(len(array)))
    padded = np.zeros((counts.max(), *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    gathered = multihost_utils.process_allgather(padded)
    return np.concatenate([part[:count] for part, count in zip(gathered, counts, strict=True)])


class Preempted(KeyboardInterrupt):
    """SIGTERM came before the first step. It is no `Exception`: what it interrupts must not take it for an error."""


class Preemption:
    """Tells when SIGTERM asks the job to stop, in the same step in all processes.

    Schedulers send SIGTERM before they take a machine away. In a job of several processes JAX catches it and agrees on
    a step that all processes reach; a process alone catches it itself. Until `begin_steps` it raises `Preempted` there,
    because preparing data and compiling can take longer than the scheduler waits.
    """

    def __init__(self):
        self._asked = self._has_begun = False
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: Any) -> None:
        self._asked = True
        if not self._has_begun:
            self._has_begun = True  # raised once: what it interrupts may take its time to end
            raise Preempted

    def begin_steps(self) -> None:
        """From now on `reached` tells."""
        self._has_begun = True

    def reached(self, step: int) -> bool:
        """Returns whether to stop after this step; every process calls it after every step."""
        return self._asked if jax.process_count() == 1 else multihost_utils.reached_preemption_sync_point(step)


def end_at_sigterm() -> None:
    """SIGTERM ends this process again, for work that keeps what is finished: in a job of several JAX only notes it."""
    if jax.process_count() > 1:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ignore_sigterm() -> None:
    """SIGTERM no longer changes the exit status: the work is done, and Python heeds no handlers while it ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
