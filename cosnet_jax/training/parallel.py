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


def per_process(batch_size: int) -> int:
    """This process's share of a global batch.

    Args:
      batch_size: examples over all devices.

    Returns:
      Examples that this process feeds to its devices.

    Raises:
      InputError: if the batch does not divide by the number of devices.
    """
    if batch_size % jax.device_count():
        raise InputError(f"batch_size is {batch_size}; expected a multiple of the {jax.device_count()} devices")
    return batch_size // jax.process_count()


def parallelise(step: Callable) -> Callable:
    """Runs (state, batch) -> (state, metrics) over this process's devices, the batch split and the state shared.

    The step averages over the axis `AXIS` itself, so that every device ends with the same state. The state given is donated.

    Args:
      step: a pure function that averages its gradients over `AXIS`.

    Returns:
      The same function of a state and a batch from `shard`; states and metrics are not stacked.
    """
    return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=0)


def shard(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Splits this process's batch over its devices: (n, ...) to (devices, n / devices, ...)."""
    devices = jax.local_device_count()
    return {name: array.reshape(devices, -1, *array.shape[1:]) for name, array in batch.items()}


def gather(tree: Any) -> Any:
    """Brings a tree of arrays to the host as NumPy; waits for the device."""
    return jax.device_get(tree)
