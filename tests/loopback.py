"""Ports and addresses on this machine, and the environment of a job's processes there."""

from __future__ import annotations

import os
import socket

from compilation import compilation_flags


def free_port(first: int = 0, last: int = 0) -> int:
    """A port that nobody listens at, in a range if one is given."""
    for port in range(first, last + 1):
        try:
            with socket.create_server(("", port)) as server:
                return server.getsockname()[1]
        except OSError:
            continue
    raise OSError(f"no free port from {first} to {last}")


def free_address() -> str:
    """An address of this machine that nobody listens at."""
    return f"localhost:{free_port()}"


def job_environments(processes: int, devices: int) -> list[dict[str, str]]:
    """The environment of each process of a job, each with some fake devices. One process alone needs no others."""
    environment = {**os.environ, "XLA_FLAGS": compilation_flags(devices)}
    if processes == 1:
        return [environment]
    shared = {"JAX_COORDINATOR_ADDRESS": free_address(), "JAX_NUM_PROCESSES": str(processes)}
    return [{**environment, **shared, "JAX_PROCESS_ID": str(number)} for number in range(processes)]
