"""Processes that train or evaluate together find each other.

JAX connects them. When one is killed, JAX aborts the others after `distributed.heartbeat` seconds at the latest (exit
status 134), and says that a task died.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

import jax

from cosnet_jax.errors import InputError
from cosnet_jax.section import Section, setting


@dataclass(frozen=True)
class DistributedConfig(Section, name="distributed"):
    """Several processes, e.g. one for each host."""

    enabled: bool = setting(False)
    timeout: int = setting(300, low=1)  # seconds to wait for all processes to start
    heartbeat: int = setting(30, low=5)  # seconds without a sign of life after which a process counts as dead
    # Unset, they come from JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or from the cluster that JAX
    # detects (SLURM, Open MPI, Kubernetes, Cloud TPU).
    coordinator_address: str | None = setting(None)  # HOST:PORT of process 0
    num_processes: int | None = setting(None, low=1)
    process_id: int | None = setting(None, low=0)


def start(settings: Any) -> None:
    """Joins the processes of a job, as `config.distributed` says; call it before anything uses a device.

    Raises:
      InputError: nothing tells how the processes find each other, or some did not start in time.
    """
    settings = DistributedConfig.read(settings)
    if not settings.enabled:
        if "JAX_COORDINATOR_ADDRESS" in os.environ:
            told = "JAX_COORDINATOR_ADDRESS is set, but this process works alone"
            print(f"warning: {told}; --config.distributed.enabled=true joins the others", file=sys.stderr)
        return
    numbers = {"JAX_NUM_PROCESSES": settings.num_processes, "JAX_PROCESS_ID": settings.process_id}
    try:
        count, number = (
            int(os.environ[name]) if value is None and name in os.environ else value for name, value in numbers.items()
        )
        jax.distributed.initialize(
            settings.coordinator_address, count, number,
            initialization_timeout=settings.timeout, heartbeat_timeout_seconds=settings.heartbeat,
        )  # fmt: skip
    except (ValueError, RuntimeError, LookupError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"distributed.enabled: the processes did not find each other ({reason}); expected a cluster that JAX "
            "detects, or distributed.{coordinator_address,num_processes,process_id}, or JAX_COORDINATOR_ADDRESS, "
            "JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        ) from None
