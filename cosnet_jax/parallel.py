"""Devices, and processes that share work, agree and stop together. No other file names pmap or a device."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import tqdm
from jax.experimental import multihost_utils

from cosnet_jax.errors import InputError
from cosnet_jax.files import writable_folder

T = TypeVar("T")
AXIS = "batch"
MESSAGE_BYTES = 2048
CACHE_BYTES = 2**30  # of compiled programs that are kept in the user's folder
_visits = itertools.count()  # to `first_before_others`, for a name of its own each


@contextlib.contextmanager
def several_processes() -> Iterator[None]:
    """Ends a process that fails at once: Python's own exit would wait for the others, which may wait for this one."""
    try:
        yield
    except BaseException as error:
        if not jax.distributed.is_initialized():
            raise
        print(f"error: {error}" if isinstance(error, InputError) else traceback.format_exc(), file=sys.stderr)
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(1)


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
        text = multihost_utils.broadcast_one_to_all(text)
        message = bytes(np.asarray(text, np.uint8)).decode(errors="replace").rstrip()
    if message:
        raise InputError(message)


def wait_for_others(point: str) -> None:
    """Waits until all processes have come to this point of the program, which has a name of its own."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(point)


@contextlib.contextmanager
def first_before_others(point: str) -> Iterator[None]:
    """Runs a block in process 0, then in the others. All processes come to this point of the program equally often."""
    point = f"{point} {next(_visits)}"
    if jax.process_index() > 0:
        wait_for_others(point)
    yield
    if jax.process_index() == 0:
        wait_for_others(point)


def sum_over_processes(array: np.ndarray) -> np.ndarray:
    """Sums an array, of one shape in all processes, over them; the result is the same in all."""
    return multihost_utils.process_allgather(array).sum(axis=0) if jax.process_count() > 1 else array


class Preempted(KeyboardInterrupt):
    """SIGTERM came before the first step. It is no `Exception`: what it interrupts must not take it for an error."""


class Preemption:
    """Tells when SIGTERM asks the job to stop. JAX makes several processes agree on a step that all reach.

    A process alone raises `Preempted` until `begin_steps`, because preparing data and compiling may take too long.
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
    """SIGTERM ends this process again, for work that keeps what is finished: among several, JAX only notes it."""
    if jax.distributed.is_initialized():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ignore_sigterm() -> None:
    """SIGTERM no longer changes the exit status: the work is done, and Python heeds no handlers while it ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def keep_compiled() -> None:
    """Keeps compiled programs, at most 1 GiB, in the user's cache; in JAX_COMPILATION_CACHE_DIR if that is set."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME") or "~/.cache"
        with contextlib.suppress(InputError):  # a home that nobody may write to: compile each time
            folder = writable_folder(Path(base) / "cosnet_jax" / "programs")
            jax.config.update("jax_compilation_cache_dir", str(folder.absolute()))
            jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES)


def use_cpu() -> None:
    """Leaves the accelerators to other processes; call it before anything uses a device."""
    jax.config.update("jax_platforms", "cpu")


def describe() -> str:
    """The devices in words, e.g. "8 x NVIDIA H100 in 2 process(es)"."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind} in {jax.process_count()} process(es)"


def check_batch_size(batch_size: int) -> None:
    """Raises an InputError if a global batch cannot be split evenly over all devices."""
    if batch_size % jax.device_count():
        raise InputError(f"batch_size is {batch_size}; expected a multiple of the {jax.device_count()} devices")


def parallelise(step: Callable) -> Callable:
    """Runs (state, batch) -> (state, metrics) over this process's devices, the batch split and the state shared.

    Args:
      step: pure; it averages its gradients over `AXIS` itself, so that every device ends with the same state.

    Returns:
      The same function of a state, which is donated, and a batch from `shard`; its results are not stacked.
    """
    return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=0)


def device_memory() -> dict[str, float]:
    """GiB of this process's first device that are in use, and the most so far; {} where it does not say (CPUs)."""
    known = jax.local_devices()[0].memory_stats() or {}
    names = {"memory_gib": "bytes_in_use", "peak_memory_gib": "peak_bytes_in_use"}
    return {name: known[key] / 2**30 for name, key in names.items() if key in known}


def replicate(tree: Any) -> Any:
    """Places a tree of arrays, the same in every process, on all devices, as `parallelise` returns its states."""
    return jax.device_put(tree, _placement(jax.local_devices()))


def shard(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Places this process's batch on its devices, an equal part each: (n, ...) becomes (devices, n / devices, ...)."""
    devices = jax.local_device_count()
    parts = {name: array.reshape(devices, -1, *array.shape[1:]) for name, array in batch.items()}
    return jax.device_put(parts, _placement(jax.local_devices(), AXIS))


def _placement(devices: Sequence[jax.Device], *axes: str) -> jax.sharding.Sharding:
    """Arrays on some devices: whole on each without `axes`, or with AXIS the first axis split over them."""
    return jax.sharding.NamedSharding(jax.sharding.Mesh(devices, (AXIS,)), jax.sharding.PartitionSpec(*axes))


def to_global(tree: Any, convert: Callable = multihost_utils.host_local_array_to_global_array) -> Any:
    """Makes a state from `parallelise` one array over all processes, as it must be to be saved or restored."""
    if jax.process_count() == 1:
        return tree
    return convert(tree, jax.sharding.Mesh(jax.devices(), (AXIS,)), jax.sharding.PartitionSpec())


def to_local(tree: Any) -> Any:
    """Undoes `to_global`."""
    return to_global(tree, multihost_utils.global_array_to_host_local_array)


def local_copy(tree: Any) -> Any:
    """Copies a tree of replicated arrays to this process's first device, e.g. for a validation."""
    return jax.device_put(jax.device_get(tree), first_local_device())


def first_local_device() -> jax.sharding.Sharding:
    """Returns this process's first device, as a placement of arrays."""
    return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


class Devices:
    """As many of this process's devices as divide a batch size: each takes an equal part of every batch."""

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self._devices = jax.local_devices()[: math.gcd(batch_size, jax.local_device_count())]
        self._shared, self._split = _placement(self._devices), _placement(self._devices, AXIS)

    @staticmethod
    def default_batch_size(per_accelerator: int) -> int:
        """A batch size for all devices: a number of examples for each, or one where they are CPUs."""
        return jax.local_device_count() * (1 if jax.default_backend() == "cpu" else per_accelerator)

    def replicate(self, tree: Any) -> Any:
        """Places a tree of arrays on all of the devices."""
        return tree if len(self._devices) == 1 else jax.device_put(tree, self._shared)

    def compile(self, function: Callable) -> Callable:
        """Compiles a pure function (shared, examples) -> results, with the examples on the first axis of every array.

        Each device takes an equal part of the examples; the results lie on the first of them.
        """
        if len(self._devices) == 1:
            return jax.jit(function)
        mapped = jax.pmap(function, axis_name=AXIS, in_axes=(None, 0), devices=self._devices)

        def run(shared, examples):
            parts = jax.tree.map(lambda x: x.reshape(len(self._devices), -1, *x.shape[1:]), examples)
            results = mapped(self.replicate(shared), jax.device_put(parts, self._split))
            return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.device_put(results, self._devices[0]))

        return run
