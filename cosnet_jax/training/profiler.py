"""A trace of a few training steps, to be looked at in TensorBoard or Perfetto."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax

FOLDER = "profile"


class Profiler:
    """Traces what host and devices do from one step to another, both included."""

    def __init__(self, steps: Sequence[int], workdir: Path, writes: bool = True):
        """Starts nothing yet.

        Args:
          steps: (first, last), counted from 1; () for none.
          workdir: the trace goes into its folder `profile/`.
          writes: whether this process traces; of several processes one does.
        """
        self._first, self._last = steps if steps and writes else (0, 0)
        self._folder = workdir / FOLDER
        self._tracing = False

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Names a step in the trace, and begins the trace before its first step."""
        if number == self._first:
            jax.profiler.start_trace(str(self._folder))
            self._tracing = True
        with jax.profiler.StepTraceAnnotation("training", step_num=number):
            yield

    def stop_after(self, number: int, results: object) -> None:
        """Ends the trace after its last step, once the devices have that step's results."""
        if self._tracing and number >= self._last:
            jax.block_until_ready(results)
            self.close()

    def close(self) -> None:
        """Ends a trace that is under way."""
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()
