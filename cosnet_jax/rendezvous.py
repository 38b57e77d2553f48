"""The processes of a job find each other before JAX connects them, and notice when one of them is gone.

JAX's own start-up aborts the process without a name when it runs out of time. Here process 0 listens on the
coordinator's address, the others connect and send their number, and process 0 answers all of them at once. Then the
port is free again for JAX.

The connections stay. When a process ends, however it ends, the system closes its connection, so the others know at once
and by name; JAX would notice after its heartbeats and abort. A host that loses power closes nothing; it is noticed
because the connections are probed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable

from cosnet_jax.errors import InputError

RETRY_SECONDS = 0.2
GRACE_SECONDS = 5.0  # how much longer the others wait for the answer than process 0 waits for them
FAREWELL = b"done"
# A host is lost if nothing came for 10 s, nor an answer to 3 probes, one every 5 s.
PROBES = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class Partners:
    """The other processes of a job: process 0 is connected to all others, the others to process 0."""

    def __init__(self, connections: dict[int, socket.socket]):
        """Takes open connections by number of the process."""
        self._connections = connections
        self._abandoned = False
        for connection in connections.values():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in PROBES.items():
                if option := getattr(socket, name, None):  # macOS has no TCP_KEEPIDLE
                    connection.setsockopt(socket.IPPROTO_TCP, option, value)

    def watch(self, lost: Callable[[int], None]) -> None:
        """Calls `lost` with the number of a process that ends without `leave`, in a thread of its own."""
        threading.Thread(target=self._watch, args=(lost,), name="partners", daemon=True).start()

    def _watch(self, lost: Callable[[int], None]) -> None:
        numbers = {connection: number for number, connection in self._connections.items()}
        while numbers:
            for connection in select.select(list(numbers), [], [])[0]:
                number, message = numbers.pop(connection), b""
                with contextlib.suppress(OSError):
                    message = connection.recv(len(FAREWELL))
                if message != FAREWELL and not self._abandoned:
                    lost(number)

    def leave(self) -> None:
        """Tells the others that this process ends as it should."""
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                connection.sendall(FAREWELL)

    def abandon(self) -> None:
        """Ends the connections without a farewell, so that the others lose this process now."""
        self._abandoned = True
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # unlike close, it does not wait for the thread that watches


def own_gpus() -> list[int] | None:
    """Returns which GPUs of the host a process of SLURM or Open MPI takes: None for all of them.

    A process that is alone on its host takes all, one of several the GPU of its number there. JAX itself gives either
    kind one GPU.
    """
    if "SLURM_STEP_NUM_NODES" in os.environ:
        alone, number = os.environ["SLURM_STEP_NUM_NODES"] == os.environ["SLURM_NTASKS"], os.environ["SLURM_LOCALID"]
    elif "OMPI_COMM_WORLD_LOCAL_SIZE" in os.environ:
        alone, number = os.environ["OMPI_COMM_WORLD_LOCAL_SIZE"] == "1", os.environ["OMPI_COMM_WORLD_LOCAL_RANK"]
    else:
        return None
    return None if alone else [int(number)]


def wait_for_all(address: str, num_processes: int, process_id: int, timeout: float) -> Partners:
    """Returns when all processes of a job have called it.

    Args:
      address: HOST:PORT of process 0, the same in all processes.
      num_processes: how many processes there are.
      process_id: the number of this one, 0 <= process_id < num_processes.
      timeout: seconds to wait.

    Returns:
      The other processes.

    Raises:
      InputError: the address is wrong, or time ran out; the message names the missing processes.
    """
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise InputError(f"distributed.coordinator_address is {address!r}; expected HOST:PORT")
    if not 0 <= process_id < num_processes:
        raise InputError(f"distributed.process_id is {process_id}; expected 0 to {num_processes - 1}")
    deadline = time.monotonic() + timeout
    if process_id == 0:
        connections, missing = _gather(int(port), num_processes, deadline)
    else:
        answer = _report(host.strip("[]"), int(port), process_id, deadline + GRACE_SECONDS)
        if answer is None:
            raise InputError(f"process 0 did not answer at {address} within {timeout:.0f} s; is it running?")
        connections, missing = answer
    if missing:
        for connection in connections.values():
            connection.close()
        names = ", ".join(map(str, missing))
        raise InputError(f"of {num_processes} processes these did not start within {timeout:.0f} s: {names}")
    return Partners(connections)


def _gather(port: int, num_processes: int, deadline: float) -> tuple[dict[int, socket.socket], list[int]]:
    """Waits for the other processes and answers them; returns the connections and the numbers that are missing."""
    connections: dict[int, socket.socket] = {}
    with _listen(port) as server:
        while len(connections) < num_processes - 1 and (left := deadline - time.monotonic()) > 0:
            server.settimeout(left)
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                connection = stack.enter_context(server.accept()[0])
                connection.settimeout(GRACE_SECONDS)
                number = connection.recv(16).decode("ascii", "replace")
                if number.isdigit() and 0 < int(number) < num_processes:  # no stranger
                    connections[int(number)] = connection
                    stack.pop_all()
    missing = sorted(set(range(1, num_processes)) - connections.keys())
    for connection in connections.values():
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps(missing).encode() + b"\n")
            connection.settimeout(None)
    return connections, missing


def _listen(port: int) -> socket.socket:
    dual_stack = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual_stack else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual_stack, backlog=1024)
    except OSError as error:
        raise InputError(f"distributed.coordinator_address: port {port} cannot be used ({error.strerror})") from None


def _report(
    host: str, port: int, process_id: int, deadline: float
) -> tuple[dict[int, socket.socket], list[int]] | None:
    """Tells process 0 that this one is there; returns the connection and its answer, or None if there was none."""
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.create_connection((host, port), timeout=left))
            connection.sendall(str(process_id).encode())
            answer = b""
            while not answer.endswith(b"\n") and (part := connection.recv(4096)):
                answer += part
            if answer.endswith(b"\n"):
                stack.pop_all()
                connection.settimeout(None)
                return {0: connection}, json.loads(answer)
        time.sleep(RETRY_SECONDS)
    return None
