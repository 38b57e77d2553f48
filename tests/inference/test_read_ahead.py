"""Reading ahead in a thread: order, overlap, exceptions, and no thread left behind."""

import threading
import time

import pytest

from cosnet_jax.inference.read_ahead import read_ahead


def test_items_come_in_order_from_another_thread():
    def items():
        for number in range(20):
            yield number, threading.current_thread()

    numbers, threads = zip(*read_ahead(items()), strict=True)
    assert numbers == tuple(range(20))
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()
    assert not threads[0].is_alive()
    assert list(read_ahead(iter([]))) == []


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_given_number_of_items_is_made_ahead_and_no_more(depth):
    made = []
    stream = read_ahead((made.append(number) or number for number in range(20)), depth)
    for number in range(3):
        assert next(stream) == number
        deadline = time.monotonic() + 10
        while len(made) < number + 1 + depth and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)  # for one too many
        assert len(made) == number + 1 + depth
    stream.close()


def test_exceptions_come_after_the_items_before_them():
    def items():
        yield 1
        raise ValueError("damaged")

    stream = read_ahead(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(stream)


def test_leaving_early_closes_the_source_and_ends_the_thread():
    closed = []

    def items():
        try:
            while True:
                yield
        finally:
            closed.append(True)

    before = set(threading.enumerate())
    stream = read_ahead(items())
    next(stream)
    stream.close()
    assert closed == [True]
    assert set(threading.enumerate()) <= before


def test_ctrl_c_while_the_thread_starts_waits_for_it_and_closes_the_source(monkeypatch):
    """The pool does not know such a thread; a generator that runs cannot be closed."""
    closed, start = [], threading.Thread.start
    began = threading.Event()

    def items():
        try:
            began.set()
            time.sleep(0.2)
            yield
        finally:
            closed.append(True)

    def start_and_interrupt(thread):
        start(thread)
        began.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(read_ahead(items()))
    assert closed == [True]
