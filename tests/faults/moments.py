"""Random moments for a signal, whatever the speed of the machine is."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable

FIRST_PAUSE = 1.0  # seconds; the longest at first
SHRINKS, GROWS = 0.8, 1.1  # later the longest pause follows how long things take
_longest_pauses: dict[str, float] = {}


class TooLate(Exception):
    """What was to be hurt was done before the signal came."""


def draw_pause(rng: random.Random, work: str) -> float:
    """Seconds to wait before a signal to some work."""
    return rng.uniform(0.0, _longest_pauses.setdefault(work, FIRST_PAUSE))


def learn(work: str, was_in_time: bool) -> None:
    """Adapts the pauses to come, so that most signals are in time, some of them barely."""
    _longest_pauses[work] *= GROWS if was_in_time else SHRINKS


def interrupt_at_any_moment(rng: random.Random, number: int, work: str, act: Callable[[], object]) -> None:
    """Sends a signal to this process, SIGINT or SIGTERM, at a random moment while it acts. Ctrl-C ends the act.

    Before and afterwards both signals are ignored, for what follows is no longer hurt.

    Raises:
      TooLate: the act was done before.
    """
    sent = threading.Event()

    def send() -> None:
        sent.set()
        os.kill(os.getpid(), number)

    timer, in_time = threading.Timer(draw_pause(rng, work), send), False
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        timer.start()
        act()
        in_time = sent.is_set()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        in_time = True
    finally:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        timer.cancel()
        timer.join()
    learn(work, in_time)
    if not in_time:
        raise TooLate
