"""The processes of a job: they start together, share the work, agree, and stop together."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
import tqdm
from jax._src import clusters, distributed  # no public names for the detection of a cluster and for waiting
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from cosnet_jax.errors import InputError, report_input_errors
from cosnet_jax.rendezvous import Partners, own_gpus, wait_for_all

T = TypeVar("T")
HEARTBEAT_SECONDS = 30  # a process that is silent for this long is taken for dead
LOSS_SECONDS = 5  # between an error in a collective operation and the news which process is lost
LAST_SECONDS = 1  # that a process which fails outlives the news of it, for JAX aborts the others when process 0 ends
LOST_STATUSES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED")
COMMUNICATION = ("gloo", "nccl", "connection closed", "connection reset", "connection refused", "socket closed")
LONGEST_WAIT_SECONDS = 30 * 24 * 3600  # for the others; that one is lost is noticed elsewhere
MESSAGE_BYTES = 2048
_partners: list[Partners] = []  # of this process, once it has started with others
_visits = itertools.count()  # to `first_before_others`, for a name of its own each
_ending = threading.Lock()  # taken for good by the thread that ends this process, so that it says one thing


def start(settings: ConfigDict) -> None:
    """Joins the processes of a job; call it before anything uses a device.

    Coordinator, number of processes and number of this one come from the configuration, else from the environment
    variables `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`, else from the cluster (SLURM, Open
    MPI, Kubernetes, Cloud TPU), which JAX detects.

    Args:
      settings: `config.distributed`.

    Raises:
      InputError: nothing tells how the processes find each other, or some did not start in time.
    """
    if not settings.enabled:
        return
    address = settings.coordinator_address or os.environ.get("JAX_COORDINATOR_ADDRESS") or None
    count = settings.num_processes or _environment_number("JAX_NUM_PROCESSES")
    number = settings.process_id if settings.process_id >= 0 else _environment_number("JAX_PROCESS_ID")
    if None in (address, count, number):
        detect = clusters.ClusterEnv.auto_detect_unset_distributed_params
        address, count, number, _ = detect(address, count, number, None, None, settings.timeout)
    if address is None or count is None or number is None:
        raise InputError(
            "config.distributed.enabled: no cluster was detected (SLURM, Open MPI, Kubernetes, Cloud TPU); expected "
            "config.distributed.{coordinator_address,num_processes,process_id} or JAX_COORDINATOR_ADDRESS, "
            "JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        )
    partners = wait_for_all(address, count, number, settings.timeout)
    partners.watch(lambda lost: _give_up(number, lost))
    if count > 1:
        _partners.append(partners)
    jax.distributed.initialize(
        address, count, number, own_gpus(), "deactivate",  # nothing is left for JAX to detect
        initialization_timeout=settings.timeout, heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    )  # fmt: skip


def _environment_number(name: str) -> int | None:
    value = os.environ.get(name)
    if value is not None and not value.isdigit():
        raise InputError(f"{name} is {value!r}; expected a whole number")
    return None if value is None else int(value)


def _give_up(number: int, lost: int) -> None:
    """Ends this process. Its other threads may wait for the lost one in a collective operation, which has no end."""
    with _ending:
        try:
            sys.stderr.write(f"error: process {number} stops: process {lost} was killed or failed, see its output\n")
        finally:
            _end(1, at_once=lost == 0)


def _fail(error: BaseException) -> None:
    """Ends this process by an error, and so the others, which may wait for it in a collective operation."""
    with _ending:
        status: object = 1
        try:
            with report_input_errors():
                raise error
        except SystemExit as ended:
            status = ended.code
            if isinstance(status, str):
                print(status, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            _end(status if isinstance(status, int) else int(status is not None))


def _end(status: int, at_once: bool = False) -> None:
    """Ends this process and the others. If Python ended it, JAX would wait for the others for minutes, then abort.

    Args:
      status: the exit status.
      at_once: whether process 0 is gone; JAX aborts this process soon.
    """
    try:
        for partners in _partners:
            partners.abandon()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                stream.flush()
        if not at_once:
            time.sleep(LAST_SECONDS)
    finally:
        os._exit(status)


@contextlib.contextmanager
def several_processes() -> Iterator[None]:
    """Surrounds the work of a program that calls `start`: if a process fails or is lost, all end, with one line each.

    An exception that leaves the block in one of several processes does not go on from here: this process prints it, as
    `report_input_errors` does or with its traceback, and ends. The others say which process they lost.
    """
    try:
        yield
    except BaseException as error:
        if not _partners:
            raise
        if isinstance(error, jax.errors.JaxRuntimeError) and is_lost_connection(str(error)):
            time.sleep(LOSS_SECONDS)  # for the thread that watches the others, which knows the number
            reason = str(error).splitlines()[0][:200]
            number = distributed.global_state.process_id  # JAX may not have connected the processes yet
            error = InputError(f"process {number} lost the connection to another process ({reason})")
        _fail(error)
    for partners in _partners:
        partners.leave()


def is_lost_connection(message: str) -> bool:
    """Tells by its message whether an error of JAX is that a collective operation or the coordinator had no answer."""
    status, _, text = message.partition(":")
    if status == "RESOURCE_EXHAUSTED":
        return False  # of memory; it lists operations, whose names can be those of a library for communication
    return status in LOST_STATUSES or any(name in text.lower() for name in COMMUNICATION)


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
        text = multihost_utils.broadcast_one_to_all(text)
        message = bytes(np.asarray(text, np.uint8)).decode(errors="replace").rstrip()
    if message:
        raise InputError(message)


def wait_for_others(point: str) -> None:
    """Waits until all processes have come to this point of the program, which has a name of its own."""
    if jax.process_count() > 1:
        distributed.global_state.client.wait_at_barrier(point, LONGEST_WAIT_SECONDS * 1000)


@contextlib.contextmanager
def first_before_others(point: str) -> Iterator[None]:
    """Runs a block in process 0, then in the others. All processes come to this point of the program equally often."""
    if not _partners:
        yield
        return
    point = f"{point} {next(_visits)}"
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
    """SIGTERM ends this process again, for work that keeps what is finished: in a job of several JAX only notes it.

    The other processes end too, see `several_processes`.
    """
    if _partners:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ignore_sigterm() -> None:
    """SIGTERM no longer changes the exit status: the work is done, and Python heeds no handlers while it ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def process() -> tuple[int, int]:
    """(index of this process, number of processes)."""
    return jax.process_index(), jax.process_count()
