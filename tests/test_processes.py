"""Mapping in worker processes: order, look-ahead, and every way in which it can end."""

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


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_results_come_in_the_order_of_the_tasks_whichever_is_done_first():
    tasks = [
        (f"__import__('time').sleep({seconds}) or {number}",) for number, seconds in enumerate([0.3, 0, 0.1, 0, 0])
    ]
    assert list(map_in_processes(eval, tasks, workers=2)) == [0, 1, 2, 3, 4]
    assert list(map_in_processes(eval, [], workers=2)) == []


def test_the_work_is_done_by_as_many_other_processes_as_asked():
    pids = set(map_in_processes(eval, [(f"__import__('time').sleep(0.1) or {PID}",)] * 8, workers=2))
    assert len(pids) == 2 and os.getpid() not in pids


def test_arrays_and_partials_travel():
    arrays = [np.full((300, 500), number, np.float32) for number in range(7)]
    results = map_in_processes(functools.partial(operator.mul, 2), ((array,) for array in arrays), workers=1)
    for result, array in zip(results, arrays, strict=True):
        np.testing.assert_array_equal(result, 2 * array)


def test_tasks_are_taken_ahead_but_not_far():
    taken = []
    tasks = ((taken.append(number) or 0.3,) for number in itertools.count())
    results = map_in_processes(time.sleep, tasks, workers=1)
    assert taken == []
    for yielded in range(1, 5):
        next(results)
        # One task occupies the worker and another waits for it while the caller makes a third.
        assert yielded + 1 <= len(taken) <= yielded + 2
    results.close()


def test_an_exception_of_the_function_arrives_with_its_traceback_and_ends_the_workers():
    tasks = [(PID,), ("1 / 0",), (SLEEP,)]
    results = map_in_processes(eval, tasks, workers=1)
    pid = next(results)
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert "in a worker process" in caught.value.__notes__[0]
    assert not is_alive(pid)


def test_an_exception_of_the_tasks_ends_the_workers():
    def tasks():
        yield (PID,)
        time.sleep(0.5)  # let the first result be ready
        yield (SLEEP,)
        raise KeyboardInterrupt

    results = map_in_processes(eval, tasks(), workers=2)
    pid = next(results)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(results)
    assert not is_alive(pid)
    assert time.monotonic() - start < 30


def test_closing_early_does_not_wait_for_the_work():
    results = map_in_processes(eval, [(PID,)] + [(SLEEP,)] * 9, workers=2)
    pid, start = next(results), time.monotonic()
    results.close()
    assert not is_alive(pid)
    assert time.monotonic() - start < 30


def test_a_worker_that_dies_is_an_error():
    with pytest.raises(RuntimeError, match=r"a worker process died \(exit status 3\)"):
        list(map_in_processes(os._exit, [(3,)], workers=2))


def test_what_a_function_prints_goes_to_stderr(capfd):
    assert list(map_in_processes(os.write, [(1, b"one "), (1, b"two")], workers=1)) == [4, 3]
    assert capfd.readouterr() == ("", "one two")


def test_a_wrong_number_of_workers_is_refused():
    with pytest.raises(ValueError):
        list(map_in_processes(math.sqrt, [(4,)], workers=-1))


def run_script(path, code):
    path.write_text(code)
    return subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_script_needs_no_main_guard_and_may_leave_the_iterator_open(tmp_path):
    code = """if True:
        from cosnet_jax.processes import map_in_processes
        results = map_in_processes(abs, [(-number,) for number in range(9)], workers=2)
        print(next(results), next(results))
    """
    out, err = run_script(tmp_path / "script.py", code).communicate(timeout=60)
    assert (out, err) == ("0 1\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_an_interrupted_or_killed_caller(tmp_path, number):
    code = f"""if True:
        from cosnet_jax.processes import map_in_processes
        for pid in map_in_processes(eval, [({PID!r},), ("__import__('time').sleep(2)",)] , workers=1):
            print(pid, flush=True)
    """
    script = run_script(tmp_path / "script.py", code)
    pid = int(script.stdout.readline())
    start = time.monotonic()
    script.send_signal(number)
    err = script.communicate(timeout=60)[1]
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)
    while is_alive(pid) and time.monotonic() - start < 30:  # a killed caller's worker ends after its task
        time.sleep(0.05)
    assert not is_alive(pid)
