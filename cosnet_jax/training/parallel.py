"""Devices and processes. No other file names pmap, a device or a process."""

from __future__ import annotations

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
