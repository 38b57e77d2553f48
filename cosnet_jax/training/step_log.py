"""Times the steps of a training and writes their metrics, without making the device wait for the host."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from cosnet_jax import parallel
from cosnet_jax.errors import InputError
from cosnet_jax.training.metric_log import MetricLog

MOST_BLANK = 64  # images in a row, of one kind of step, whose masks are all empty or all full


class StepLog:
    """The running record of the steps, used while the loop always has one step under way.

    The metrics of a step are read when the next step was handed to the device. So the device never waits for the host,
    and every record still has the number of its own last step and the time that its own steps took.
    """

    def __init__(
        self, log: MetricLog, every: int, last_step: int, learning_rate: Callable[[int], float], skips: bool = False
    ):
        """Starts the clock.

        Args:
          log: takes the records.
          every: a record is written at multiples of this number of steps.
          last_step: the last step of the training, which ends a record too.
          learning_rate: step -> learning rate, on the host.
          skips: whether the training goes on after a step that is not finite; such steps are counted as "skipped" and
            left out of the means.
        """
        self._log, self._every, self._last_step, self._learning_rate = log, every, last_step, learning_rate
        self._skips = skips
        self._running: tuple[int, str, Any, int] | None = None
        self._finished: list[tuple[str, dict[str, Any]]] = []
        self._blank: dict[str, int] = {}  # by kind, images in a row with nothing to tell apart
        self._images = 0  # that the steps of the present record took
        self._waited, self._since = 0.0, time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time of a block as waiting for data."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Finishes the running step, and leaves the time of a block (a validation, say) out of the record."""
        self.finish()
        start = time.monotonic()
        yield
        self._since += time.monotonic() - start

    def add(self, step: int, kind: str, metrics: Any, images: int) -> None:
        """Notes a step that was handed to the device, and waits for the one before it.

        Args:
          step: steps done when it ends, from 1.
          kind: "still" or "video".
          metrics: its scalars, on the device.
          images: how many images each device took.
        """
        previous, self._running = self._running, (step, kind, metrics, images)
        if previous:
            self._finish(*previous)
        if step == self._last_step:
            self.finish()

    def finish(self) -> None:
        """Waits for the running step, if there is one."""
        running, self._running = self._running, None
        if running:
            self._finish(*running)

    def end(self, step: int) -> None:
        """Ends the last record with this step, the one under way: a training that goes on begins a record after it."""
        self._last_step = step
        self.finish()

    def _finish(self, step: int, kind: str, metrics: Any, images: int) -> None:
        values = jax.device_get(metrics)
        self._finished.append((kind, values))
        self._images += images
        if not self._skips:
            stop_at_nan(step, kind, values)
        is_blank = values.get("foreground") in (0, 1)
        self._blank[kind] = self._blank.get(kind, 0) + images if is_blank else 0
        if self._blank[kind] >= MOST_BLANK:
            which = "full" if values["foreground"] else "empty"
            raise InputError(
                f"step {step}: the masks of the last {self._blank[kind]} images of {kind} steps are all {which}, so "
                "there is nothing to learn; expected an object and a background. `cosnet prepare` prints the share of "
                "foreground of each set"
            )
        if step % self._every == 0 or step == self._last_step:
            self._write(step)

    def _write(self, step: int) -> None:
        now = time.monotonic()
        elapsed, finished = now - self._since, self._finished
        extra = {
            "learning_rate": self._learning_rate(step - 1),
            "seconds_per_step": elapsed / len(finished),
            "images_per_second_per_device": self._images / elapsed,
            "waiting_for_data": min(self._waited / elapsed, 1.0),
            **parallel.device_memory(),
        }
        self._finished, self._images, self._waited, self._since = [], 0, 0.0, now
        for kind in sorted({kind for kind, _ in finished}):
            records = [metrics for name, metrics in finished if name == kind]
            whole = [record for record in records if not nonfinite_parts(record)]
            names = whole[0].keys() - {"finite"} if whole else ()
            means = {name: sum(record[name] for record in whole) / len(whole) for name in sorted(names)}
            skipped = {"skipped": len(records) - len(whole)} if len(records) > len(whole) else {}
            self._log.write(step, kind, {**means, **skipped, **extra})
            losses = ["loss", *sorted(means.keys() - {"loss", "foreground"})] if whole else []
            result = [f"{name} {means[name]:.4f}" for name in losses] or ["not finite"]
            result += [f"{count} skipped" for count in skipped.values()]
            result += [f"learning rate {extra['learning_rate']:.2g}", f"{extra['seconds_per_step']:.2f} s a step"]
            result += [f"{extra['waiting_for_data']:.0%} waiting for data"]
            if "peak_memory_gib" in extra:
                result += [f"{extra['peak_memory_gib']:.1f} GiB at most"]
            parallel.say(f"step {step}: {kind} {', '.join(result)}")


def nonfinite_parts(values: dict[str, Any]) -> list[str]:
    """Names the parts of a step's loss that are NaN or infinite.

    A step whose gradients are not finite has `finite` = 0, though its loss may be; then it names the gradients.
    """
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    return broken or (["the gradients"] if values.get("finite", 1.0) < 1 else [])


def stop_at_nan(step: int, kind: str, values: dict[str, Any]) -> None:
    """Raises an InputError that names `nonfinite_parts`, if there are any."""
    if broken := nonfinite_parts(values):
        raise InputError(
            f"step {step}: {', '.join(broken)} of the {kind} step is not finite; the last checkpoint is from before. "
            "Expected finite values: try a smaller optimizer.learning_rate, or nonfinite_steps=skip"
        )
