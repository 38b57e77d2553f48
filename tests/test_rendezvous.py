"""Processes that find each other before JAX connects them, as threads of one process."""

from __future__ import annotations

import contextlib
import queue
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from loopback import free_address

from cosnet_jax.errors import InputError
from cosnet_jax.rendezvous import Partners, own_gpus, wait_for_all


@pytest.fixture
def address():
    return free_address()


@pytest.fixture
def start(address):
    results = []

    def start(count, numbers, timeout):
        """Calls `wait_for_all` as these of the processes; returns the result or the error of each."""
        with ThreadPoolExecutor(count) as threads:
            calls = [threads.submit(wait_for_all, address, count, number, timeout) for number in numbers]
            results.extend(call.exception() or call.result() for call in calls)
            return results

    yield start
    close([partners for partners in results if isinstance(partners, Partners)])


def end(partners):
    """Ends the connections as the end of a process does; the threads that watch them here may still read them."""
    for connection in partners._connections.values():
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def close(all_partners):
    """Ends all connections, and closes them when nothing watches them any more."""
    for partners in all_partners:
        end(partners)
    for thread in threading.enumerate():
        if thread.name == "partners":
            thread.join()
    for partners in all_partners:
        for connection in partners._connections.values():
            connection.close()


def test_all_go_on_together_in_any_order(start):
    assert all(isinstance(partners, Partners) for partners in start(4, [2, 1, 3, 0], timeout=20))


def test_a_process_that_ends_without_leaving_is_named_to_process_0_and_process_0_to_the_others(start):
    lost = queue.Queue()
    first, *others = start(4, [0, 1, 2, 3], timeout=20)
    first.watch(lambda number: lost.put(("first", number)))
    others[0].watch(lambda number: lost.put(("other", number)))
    others[1].leave()
    end(others[1])  # as it should
    end(others[2])
    assert lost.get(timeout=30) == ("first", 3)
    end(first)
    assert {lost.get(timeout=30), lost.get(timeout=30)} == {("first", 1), ("other", 0)}
    assert lost.empty()


def test_a_process_that_abandons_its_job_is_lost_to_the_others_though_it_goes_on(start):
    lost = queue.Queue()
    first, second = start(2, [0, 1], timeout=20)
    for partners, name in ((first, "first"), (second, "second")):
        partners.watch(lambda number, name=name: lost.put((name, number)))
    second.abandon()
    assert lost.get(timeout=30) == ("first", 1)
    close([first, second])
    assert lost.empty()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems lack some of the options")
def test_a_host_without_power_would_be_noticed_within_half_a_minute(start):
    for partners in start(2, [0, 1], timeout=20):
        for connection in partners._connections.values():
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            idle, interval, count = (connection.getsockopt(socket.IPPROTO_TCP, option) for option in options)
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert (idle, interval, count) == (10, 5, 3)


def test_those_that_are_missing_are_named_to_all(start):
    for error in start(5, [0, 2, 3], timeout=2):
        assert isinstance(error, InputError)
        assert str(error) == "of 5 processes these did not start within 2 s: 1, 4"


def test_without_process_0_the_address_is_named(address, start, monkeypatch):
    monkeypatch.setattr("cosnet_jax.rendezvous.GRACE_SECONDS", 0.1)
    (error,) = start(2, [1], timeout=0.5)
    assert str(error).startswith(f"process 0 did not answer at {address} within")


def test_strangers_are_ignored(address):
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(wait_for_all, address, 2, 0, 20)
        host, port = address.split(":")
        while True:
            try:
                with socket.create_connection((host, int(port)), timeout=30) as stranger:
                    stranger.sendall(b"GET / HTTP/1.1\r\n")
                break
            except OSError:
                time.sleep(0.01)
        close([threads.submit(wait_for_all, address, 2, 1, 20).result(), first.result()])


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"SLURM_STEP_NUM_NODES": "2", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}, None),
        ({"SLURM_STEP_NUM_NODES": "2", "SLURM_NTASKS": "16", "SLURM_LOCALID": "3"}, [3]),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}, None),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "2"}, [2]),
    ],
)
def test_a_process_alone_on_its_host_takes_all_gpus_and_one_of_several_takes_one(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert own_gpus() == expected


def test_wrong_settings_are_named(address):
    for wrong in ("nowhere", "host:70000", "host:²"):
        with pytest.raises(InputError, match=f"coordinator_address is {wrong!r}; expected HOST:PORT"):
            wait_for_all(wrong, 2, 0, 1)
    with pytest.raises(InputError, match="process_id is 2; expected 0 to 1"):
        wait_for_all(address, 2, 2, 1)
    port = address.split(":")[1]
    with socket.create_server(("", int(port))), pytest.raises(InputError, match=f"port {port} cannot be used"):
        wait_for_all(address, 2, 0, 1)
