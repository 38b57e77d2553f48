"""What `segment_on_ray` uses of Ray, without processes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import ray.exceptions
from ray.exceptions import RayTaskError

NEVER = object()  # the result of a call that does not end


class RayStandIn:
    """A cluster of one machine whose workers do as a function says.

    Args:
      behave: behave(number of the worker from 0, name of its method, *arguments) returns the call's result, an
        exception that `get` raises, or `NEVER`.
      cores: of the machine.

    Attributes:
      calls: (number of the worker, name of its method, its first argument), in their order.
      killed: numbers of the workers that were killed, in their order.
      is_shut_down: whether `shutdown` was called.
    """

    exceptions = ray.exceptions

    def __init__(self, behave: Callable[..., Any], cores: int = 8):
        self._behave, self._cores, self._workers = behave, cores, 0
        self.calls: list[tuple[int, str, Any]] = []
        self.killed: list[int] = []
        self.is_shut_down = False

    def nodes(self) -> list[dict]:
        return [{"Alive": True, "Resources": {"CPU": float(self._cores)}}]

    def remote(self, **_: Any) -> Callable:
        return lambda kind: SimpleNamespace(remote=lambda *_: self._make_worker(kind))

    def _make_worker(self, kind: type) -> SimpleNamespace:
        number, self._workers = self._workers, self._workers + 1

        def method(name: str) -> SimpleNamespace:
            def call(*arguments: Any) -> Result:
                self.calls.append((number, name, arguments[0]))
                return Result(self._behave(number, name, *arguments))

            return SimpleNamespace(remote=call)

        methods = {name: method(name) for name in vars(kind) if not name.startswith("_")}
        return SimpleNamespace(number=number, **methods)

    def wait(self, results: list[Result], *, num_returns: int = 1, timeout: float | None = None):
        ended = [result for result in results if result.value is not NEVER][:num_returns]
        assert ended or timeout is not None, "it would wait for ever"
        return ended, [result for result in results if result not in ended]

    def get(self, result: Result) -> Any:
        if isinstance(result.value, Exception):
            raise result.value
        return result.value

    def kill(self, worker: SimpleNamespace, *, no_restart: bool) -> None:
        assert no_restart
        self.killed.append(worker.number)

    def shutdown(self) -> None:
        self.is_shut_down = True


class Result:
    """The result of a call, to come."""

    def __init__(self, value: Any):
        self.value = value


def task_error(cause: Exception) -> RayTaskError:
    """What Ray raises where a method raised `cause`."""
    text = f"Traceback (most recent call last):\n{type(cause).__module__}.{type(cause).__name__}: {cause}"
    return RayTaskError("Worker.method", text, cause, "ray::Worker", 1, "127.0.0.1").as_instanceof_cause()
