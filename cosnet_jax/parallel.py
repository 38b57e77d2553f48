"""Devices and processes. No other file names pmap, a device or a process."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
import tqdm
from jax._src import clusters, distributed  # no public names for the detection of a cluster and for waiting
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from cosnet_jax.errors import InputError
from cosnet_jax.files import writable_folder
from cosnet_jax.rendezvous import Partners, own_gpus, wait_for_all

T = TypeVar("T")
AXIS = "batch"
HEARTBEAT_SECONDS = 30  # a process that is silent for this long is taken for dead
LOSS_SECONDS = 5  # between an error in a collective operation and the news which process is lost
LONGEST_WAIT_SECONDS = 30 * 24 * 3600  # for the others; that one is lost is noticed elsewhere
MESSAGE_BYTES = 2048
_partners: list[Partners] = []  # of this process, once it has started with others


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
    sys.stdout.flush()
    print(f"error: process {number} stops: process {lost} was killed or failed, see its output", file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)


@contextlib.contextmanager
def several_processes() -> Iterator[None]:
    """Surrounds the work of a program that calls `start`: if a process is lost, the others end with one line each.

    Raises:
      InputError: in place of JAX's error, where the connection to another process broke and nobody knows why.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        time.sleep(LOSS_SECONDS)  # for the thread that watches the others, which knows the number
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"process {jax.process_index()} lost the connection to another process ({reason})") from None
    for partners in _partners:
        partners.leave()


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


def ignore_sigterm() -> None:
    """SIGTERM no longer changes the exit status: the work is done, and Python heeds no handlers while it ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def process() -> tuple[int, int]:
    """(index of this process, number of processes)."""
    return jax.process_index(), jax.process_count()


def keep_compiled(folder: str) -> None:
    """Keeps compiled programs in a folder, where later runs find them; "" leaves JAX's own settings as they are.

    Raises:
      InputError: the folder cannot be written to.
    """
    if folder:
        jax.config.update("jax_compilation_cache_dir", str(writable_folder(folder).absolute()))


def use_cpu() -> None:
    """Leaves the accelerators to other processes; call it before anything uses a device."""
    jax.config.update("jax_platforms", "cpu")


def describe() -> str:
    """The devices in words, e.g. "8 x NVIDIA H100 in 2 processes"."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind} in {jax.process_count()} process(es)"


def check_batch_size(batch_size: int) -> None:
    """Raises an InputError if a global batch cannot be split evenly over all devices."""
    if batch_size % jax.device_count():
        raise InputError(f"batch_size is {batch_size}; expected a multiple of the {jax.device_count()} devices")


def parallelise(step: Callable) -> Callable:
    """Runs (state, batch) -> (state, metrics) over this process's devices, the batch split and the state shared.

    The step averages over the axis `AXIS` itself, so that every device ends with the same state. The state given is
    donated.

    Args:
      step: a pure function that averages its gradients over `AXIS`.

    Returns:
      The same function of a state and a batch from `shard`; states and metrics are not stacked.
    """
    return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=0)


def working_memory(step: Any, state: Any, batch: dict[str, np.ndarray]) -> int:
    """Compiles a step from `parallelise`, as its first call would, and asks XLA for the memory it takes.

    Args:
      step: the function.
      state: from `replicate`.
      batch: arrays (n, ...) like those of every batch of this process; their values do not matter.

    Returns:
      Bytes on each device beside the state and the batch.
    """
    return step.lower(state, shard(batch)).compile().memory_analysis().temp_size_in_bytes


def replicate(tree: Any) -> Any:
    """Places a tree of arrays, the same in every process, on all devices, as `parallelise` returns its states."""
    return jax.device_put(tree, jax.sharding.NamedSharding(_local_mesh(), jax.sharding.PartitionSpec()))


def shard(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Places this process's batch on its devices, an equal part each: (n, ...) becomes (devices, n / devices, ...).

    The arrays are copied while the devices still work on the step before.
    """
    devices = jax.local_device_count()
    parts = {name: array.reshape(devices, -1, *array.shape[1:]) for name, array in batch.items()}
    return jax.device_put(parts, jax.sharding.NamedSharding(_local_mesh(), jax.sharding.PartitionSpec(AXIS)))


def _local_mesh() -> jax.sharding.Mesh:
    return jax.sharding.Mesh(jax.local_devices(), (AXIS,))


def to_global(tree: Any) -> Any:
    """Makes a state from `parallelise` one array over all processes, as it must be to be saved or restored."""
    if jax.process_count() == 1:
        return tree
    mesh = jax.sharding.Mesh(jax.devices(), (AXIS,))
    return multihost_utils.host_local_array_to_global_array(tree, mesh, jax.sharding.PartitionSpec())


def to_local(tree: Any) -> Any:
    """Undoes `to_global`."""
    if jax.process_count() == 1:
        return tree
    mesh = jax.sharding.Mesh(jax.devices(), (AXIS,))
    return multihost_utils.global_array_to_host_local_array(tree, mesh, jax.sharding.PartitionSpec())


def gather(tree: Any) -> Any:
    """Brings a tree of replicated arrays to the host as NumPy; waits for the device."""
    return jax.device_get(tree)


def copy_on_first(tree: Any) -> Any:
    """Copies a tree of replicated arrays to the host; None in all processes but the first.

    The next step may take the memory of the arrays (`parallelise` donates them), but not that of the copy.
    """
    return jax.tree.map(np.array, gather(tree)) if is_first() else None


def local_copy(tree: Any) -> Any:
    """Copies a tree of replicated arrays to this process's first device, e.g. for a validation."""
    return jax.device_put(gather(tree), first_local_device())


def first_local_device() -> jax.sharding.Sharding:
    """Returns this process's first device, as a placement of arrays."""
    return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


class Devices:
    """As many of this process's devices as divide a batch size: each takes an equal part of every batch.

    Attributes:
      batch_size: number of examples.
    """

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self._devices = jax.local_devices()[: math.gcd(batch_size, jax.local_device_count())]
        mesh = jax.sharding.Mesh(self._devices, (AXIS,))
        self._shared, self._split = (
            jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in ((), (AXIS,))
        )

    @staticmethod
    def default_batch_size(per_accelerator: int) -> int:
        """A batch size for all devices: a number of examples for each, or one where they are CPUs."""
        return jax.local_device_count() * (1 if jax.default_backend() == "cpu" else per_accelerator)

    def replicate(self, tree: Any) -> Any:
        """Places a tree of arrays on all of the devices."""
        return tree if len(self._devices) == 1 else jax.device_put(tree, self._shared)

    def compile(self, function: Callable) -> Callable:
        """Compiles (shared, examples) -> results, in whose trees of arrays each example has a place on the first axis.

        Args:
          function: pure; its results depend on an example and on what is shared alone.

        Returns:
          The same function, by way of all of the devices; the results lie on the first of them.
        """
        if len(self._devices) == 1:
            return jax.jit(function)
        mapped = jax.pmap(function, axis_name=AXIS, in_axes=(None, 0), devices=self._devices)

        def run(shared, examples):
            parts = jax.tree.map(lambda x: x.reshape(len(self._devices), -1, *x.shape[1:]), examples)
            results = mapped(self.replicate(shared), jax.device_put(parts, self._split))
            return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.device_put(results, self._devices[0]))

        return run
