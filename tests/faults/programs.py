"""Compiled programs that are kept on disk, so that a process which is to be hurt neither traces nor compiles them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
from jax.experimental import serialize_executable

from cosnet_jax import parallel


class KeptPrograms:
    """Makes `parallel` take the programs of a folder; what runs is what would have been compiled."""

    def __init__(self, folder: Path, writes: bool = False):
        """Loads nothing yet.

        Args:
          folder: of the programs.
          writes: whether to add those that are not there. Such a process must not use JAX's own cache, whose programs
            cannot be written again.
        """
        self._folder, self._writes = folder, writes
        self._programs: dict[str, Any] = {}

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Replaces what compiles a step and the functions of a network."""
        parallelise = parallel.parallelise
        with (
            mock.patch.object(parallel, "parallelise", lambda step: self._keep(parallelise(step), step)),
            mock.patch.object(parallel.Devices, "compile", lambda _, function: self._keep(jax.jit(function), function)),
        ):
            yield

    def _keep(self, compiled: Any, function: Callable) -> Callable:
        return functools.partial(self._run, compiled, _name_of(function))

    def _run(self, compiled: Any, name: str, *arguments: Any) -> Any:
        shapes = [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(arguments)]
        key = f"{name} {jax.tree.structure(arguments)} {shapes}"
        if key not in self._programs:
            path = self._folder / hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
            if self._writes and not path.exists():
                self._folder.mkdir(exist_ok=True)
                program = serialize_executable.serialize(compiled.lower(*arguments).compile())
                path.write_bytes(pickle.dumps(program))
            if path.exists():
                compiled = serialize_executable.deserialize_and_load(*pickle.loads(path.read_bytes()))
            self._programs[key] = compiled
        return self._programs[key](*arguments)


def _name_of(function: Callable) -> str:
    if isinstance(function, functools.partial):
        return f"{_name_of(function.func)} {function.keywords}"
    return function.__qualname__
