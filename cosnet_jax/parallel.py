"""Devices. No other file names pmap or a device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from cosnet_jax.errors import InputError
from cosnet_jax.files import writable_folder

AXIS = "batch"


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
    """The devices in words, e.g. "8 x NVIDIA H100 in 2 process(es)"."""
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
