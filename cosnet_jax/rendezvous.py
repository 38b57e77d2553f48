"""The processes of a job find each other before JAX connects them, so that one that is missing can be named.

JAX's own start-up aborts the process without a name when it runs out of time. Here process 0 listens on the
coordinator's address, the others connect and send their number, and process 0 answers all of them at once. Then the
port is free again for JAX.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time

from cosnet_jax.errors import InputError

RETRY_SECONDS = 0.2
GRACE_SECONDS = 5.0  # how much longer the others wait for the answer than process 0 waits for them


def wait_for_all(address: str, num_processes: int, process_id: int, timeout: float) -> None:
    """Returns when all processes of a job have called it.

    Args:
      address: HOST:PORT of process 0, the same in all processes.
      num_processes: how many processes there are.
      process_id: the number of this one, 0 <= process_id < num_processes.
      timeout: seconds to wait.

    Raises:
      InputError: the address is wrong, or time ran out; the message names the missing processes.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"distributed.coordinator_address is {address!r}; expected HOST:PORT")
    if not 0 <= process_id < num_processes:
        raise InputError(f"distributed.process_id is {process_id}; expected 0 to {num_processes - 1}")
    deadline = time.monotonic() + timeout
    if process_id == 0:
        missing = _gather(int(port), num_processes, deadline)
    else:
        answer = _report(host.strip("[]"), int(port), process_id, deadline + GRACE_SECONDS)
        if answer is None:
            raise InputError(f"process 0 did not answer at {address} within {timeout:.0f} s; is it running?")
        missing = answer
    if missing:
        names = ", ".join(map(str, missing))
        raise InputError(f"of {num_processes} processes these did not start within {timeout:.0f} s: {names}")


def _gather(port: int, num_processes: int, deadline: float) -> list[int]:
    """Waits for the other processes, answers them, and returns the numbers of those that are missing."""
    connections: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_listen(port))
        while len(connections) < num_processes - 1 and (left := deadline - time.monotonic()) > 0:
            server.settimeout(left)
            with contextlib.suppress(OSError):
                connection = stack.enter_context(server.accept()[0])
                connection.settimeout(GRACE_SECONDS)
                number = connection.recv(16).decode("ascii", "replace")
                if number.isdigit() and 0 < int(number) < num_processes:  # a stranger's connection is ignored
                    connections[int(number)] = connection
        missing = sorted(set(range(1, num_processes)) - connections.keys())
        for connection in connections.values():
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(missing).encode())
    return missing


def _listen(port: int) -> socket.socket:
    dual_stack = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual_stack else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual_stack, backlog=1024)
    except OSError as error:
        raise InputError(f"distributed.coordinator_address: port {port} cannot be used ({error.strerror})") from None


def _report(host: str, port: int, process_id: int, deadline: float) -> list[int] | None:
    """Tells process 0 that this one is there; returns its answer, or None if there was none."""
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=left) as connection:
            connection.sendall(str(process_id).encode())
            answer = b""
            while part := connection.recv(4096):
                answer += part
            if answer:
                return json.loads(answer)
        time.sleep(RETRY_SECONDS)
    return None
