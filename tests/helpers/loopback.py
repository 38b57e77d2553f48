"""Ports and addresses on this machine, and the environment of a job's processes there."""

from __future__ import annotations

import itertools
import os
import socket

from compilation import compilation_flags

_calls = itertools.count()


def free_port(first: int | None = None, last: int = 32_767) -> int:
    """A port that nobody listens at, of a range; without one, below those that Linux gives to outgoing connections.

    Each call begins at another port, in another process far from there.
    """
    first = 20_000 + (os.getpid() * 64 + next(_calls)) % 12_000 if first is None else first
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
