"""Devices and processes. No other file names pmap, a device or a process."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cosnet_jax.errors import InputError

AXIS = "batch"


def start(distributed: bool) -> None:
    """Joins the processes of a multi-host job (their addresses come from the cluster's environment); call it first."""
    if distributed:
        jax.distributed.initialize()


def process() -> tuple[int, int]:
    """(index of this process, number of processes)."""
    return jax.process_index(), jax.process_count()


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


def replicate(tree: Any) -> Any:
    """Places a tree of arrays, the same in every process, on all devices, as `parallelise` returns its states."""
    mesh = jax.sharding.Mesh(jax.devices(), (AXIS,))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


def shard(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Splits this process's batch over its devices: (n, ...) to (devices, n / devices, ...)."""
    devices = jax.local_device_count()
    return {name: array.reshape(devices, -1, *array.shape[1:]) for name, array in batch.items()}


def gather(tree: Any) -> Any:
    """Brings a tree of replicated arrays to the host as NumPy; waits for the device."""
    return jax.device_get(tree)


def local_copy(tree: Any) -> Any:
    """Copies a tree of replicated arrays to this process's first device, e.g. for a validation."""
    return jax.device_put(gather(tree), jax.local_devices()[0])


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
