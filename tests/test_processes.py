"""Mapping in worker processes: order, keys, look-ahead, and every way in which it can end."""

from __future__ import annotations

import functools
import itertools
import math
import operator
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cosnet_jax.processes import map_in_processes

PID = "__import__('os').getpid()"
SLEEP = "__import__('time').sleep(60)"


def numbered(*arguments):
    """Tasks of one argument each, with their position as key."""
    return [(number, (argument,)) for number, argument in enumerate(arguments)]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_results_come_in_the_order_of_the_tasks_whichever_is_done_first():
    tasks = numbered(*(f"__import__('time').sleep({seconds}) or {seconds}" for seconds in (0.3, 0, 0.1, 0, 0)))
    assert list(map_in_processes(eval, tasks, workers=2)) == [(0, 0.3), (1, 0), (2, 0.1), (3, 0), (4, 0)]
    assert list(map_in_processes(eval, [], workers=2)) == []


def test_the_work_is_done_by_as_many_other_processes_as_asked():
    tasks = numbered(*[f"__import__('time').sleep(0.1) or {PID}"] * 8)
    pids = {pid for _, pid in map_in_processes(eval, tasks, workers=2)}
    assert len(pids) == 2 and os.getpid() not in pids


def test_arrays_and_partials_travel_and_keys_stay():
    arrays = [np.full((300, 500), number, np.float32) for number in range(7)]
    tasks = [((lambda: None), (array,)) for array in arrays]  # a lambda cannot be pickled
    results = list(map_in_processes(functools.partial(operator.mul, 2), iter(tasks), workers=1))
    for (key, result), (expected_key, (array,)) in zip(results, tasks, strict=True):
        assert key is expected_key
        np.testing.assert_array_equal(result, 2 * array)


def test_tasks_are_taken_ahead_but_not_far(tmp_path):
    taken = []

    def tasks():
        for number in itertools.count():
            taken.append(number)
            exists = f"__import__('os').path.exists({str(tmp_path / str(number))!r})"
            yield number, (f"[None for _ in iter(lambda: {exists} or __import__('time').sleep(0.01), True)]",)

    results = map_in_processes(eval, tasks(), workers=1)
    assert taken == []
    for yielded in range(1, 5):
        (tmp_path / str(yielded - 1)).touch()
        next(results)
        # One task occupies the worker and another waits for it while the caller makes a third.
        assert yielded + 1 <= len(taken) <= yielded + 2
    results.close()


def test_an_exception_of_the_function_arrives_with_its_traceback_and_ends_the_workers():
    results = map_in_processes(eval, numbered(PID, "1 / 0", SLEEP), workers=1)
    _, pid = next(results)
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert "in a worker process" in caught.value.__notes__[0]
    assert not is_alive(pid)


@pytest.mark.parametrize("error", ["EOFError", "OSError", "__import__('pickle').UnpicklingError"])
def test_exceptions_that_the_pipes_raise_too_are_told_apart(error):
    with pytest.raises(eval(error), match="of the function"):
        list(map_in_processes(eval, numbered(f"(_ for _ in ()).throw({error}('of the function'))"), workers=1))


def test_an_exception_of_the_tasks_ends_the_workers():
    def tasks():
        yield 0, (PID,)
        time.sleep(0.5)  # let the first result be ready
        yield 1, (SLEEP,)
        raise KeyboardInterrupt

    results = map_in_processes(eval, tasks(), workers=2)
    _, pid = next(results)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(results)
    assert not is_alive(pid)
    assert time.monotonic() - start < 30


def test_closing_early_does_not_wait_for_the_work():
    results = map_in_processes(eval, numbered(PID, *[SLEEP] * 9), workers=2)
    (_, pid), start = next(results), time.monotonic()
    results.close()
    assert not is_alive(pid)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("end", "message"),
    [("__import__('os')._exit(3)", "exit status 3"), (f"__import__('os').kill({PID}, 9)", "signal SIGKILL")],
)
def test_a_worker_that_dies_is_an_error(end, message):
    with pytest.raises(RuntimeError, match=rf"a worker process died \({message}\)"):
        list(map_in_processes(eval, numbered(end), workers=2))


class Unpicklable:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


@pytest.mark.parametrize("error", [ValueError("this object"), TypeError("this object")])
def test_an_argument_that_cannot_be_pickled_is_an_error(error):
    with pytest.raises(type(error), match="this object"):
        list(map_in_processes(abs, numbered(Unpicklable(error)), workers=1))


def test_what_a_function_prints_goes_to_stderr(capfd):
    tasks = [("a", (1, b"one ")), ("b", (1, b"two"))]
    assert list(map_in_processes(os.write, tasks, workers=1)) == [("a", 4), ("b", 3)]
    assert capfd.readouterr() == ("", "one two")


def test_a_wrong_number_of_workers_is_refused():
    with pytest.raises(ValueError):
        list(map_in_processes(math.sqrt, numbered(4), workers=-1))


def start_python(arguments, code=None):
    """Starts Python with warnings as errors, gives it `code` as its input, and returns the process."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", *map(str, arguments)],
        stdin=subprocess.PIPE if code else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if code:
        process.stdin.write(code)
        process.stdin.close()
        process.stdin = None
    return process


CODE = """if True:
    from cosnet_jax.processes import map_in_processes
    results = map_in_processes(abs, ((str(number), (-number,)) for number in range(9)), workers=2)
    print(next(results), next(results))
"""


@pytest.mark.parametrize("way", ["script", "-c", "stdin"])
def test_a_program_needs_no_main_guard_and_may_leave_the_iterator_open(tmp_path, way):
    (tmp_path / "script.py").write_text(CODE)
    arguments = {"script": [tmp_path / "script.py"], "-c": ["-c", CODE], "stdin": ["-"]}[way]
    process = start_python(arguments, CODE if way == "stdin" else None)
    assert process.communicate(timeout=60) == ("('0', 0) ('1', 1)\n", "")


def test_a_function_of_the_main_module_is_an_error_that_names_it():
    code = (
        "from cosnet_jax.processes import map_in_processes\ndef own(x): ...\nlist(map_in_processes(own, [(0, (1,))]))"
    )
    process = start_python(["-c", code])
    assert "AttributeError: Can't get attribute 'own' on <module '__main__'" in process.communicate(timeout=60)[1]


@pytest.mark.usefixtures("default_sigint")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_an_interrupted_or_killed_caller(number):
    seconds = 60 if number == signal.SIGINT else 0.5  # a killed caller's worker ends after its task
    code = f"""if True:
        from cosnet_jax.processes import map_in_processes
        tasks = [(0, ({PID!r},)), (1, ("__import__('time').sleep({seconds})",))]
        for _, pid in map_in_processes(eval, tasks, workers=1):
            print(pid, flush=True)
    """
    process = start_python(["-c", code])
    int(process.stdout.readline())
    process.send_signal(number)
    error = process.communicate(timeout=30)[1]  # the worker shares stderr, which therefore ends when the worker does
    assert ("KeyboardInterrupt" in error) == (number == signal.SIGINT)
    assert "worker process" not in error  # neither its traceback nor the news of its death
