"""Threads that work ahead: order, how far ahead, exceptions, and no thread left behind."""

import threading
import time

import pytest

from cosnet_jax.threads import map_in_threads, read_ahead


def test_results_come_in_the_order_of_the_tasks_and_a_few_are_taken_ahead():
    taken = []

    def tasks():
        for number in range(20):
            taken.append(number)
            yield f"key {number}", (number,)

    def square(number):
        time.sleep(0.002 * (number % 3))
        return number**2

    for number, (key, result) in enumerate(map_in_threads(square, tasks(), workers=2)):
        assert (key, result) == (f"key {number}", number**2)
        assert len(taken) <= number + 6


def test_items_are_made_in_another_thread_and_so_many_ahead():
    made = []
    stream = read_ahead((made.append(threading.current_thread()) or number for number in range(20)), depth=3)
    for number in range(3):
        assert next(stream) == number
        deadline = time.monotonic() + 10
        while len(made) < number + 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)  # for one too many
        assert len(made) == number + 4
    assert list(stream) == list(range(3, 20))
    assert len(set(made)) == 1 and not made[0].is_alive() and made[0] is not threading.current_thread()


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
