"""How the tests and the programs that they start compile: quickly, and each program once."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import tempfile
from collections.abc import Iterator

# Half of the time of a test is compilation. Programs that are not optimised give other last bits, which no test minds.
FAST = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if importlib.metadata.version("jaxlib").startswith("0.10."):  # a third of the time; later versions lack the flag
    FAST += " --xla_cpu_use_fusion_emitters=false"


def compilation_flags(devices: int = 1) -> str:
    """The value of XLA_FLAGS for a program on some fake devices."""
    return f"--xla_force_host_platform_device_count={devices} {FAST}"


def share_compiled_programs() -> tempfile.TemporaryDirectory | None:
    """Lets all processes of these tests find what one of them compiled. The first of them gets the folder, to keep.

    JAX writes a program in place. A process that reads it half-written warns and compiles it itself; the same warning
    is ignored within the tests in pyproject.toml.
    """
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["PYTHONWARNINGS"] = "ignore:Error reading persistent compilation cache entry"
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return None
    folder = tempfile.TemporaryDirectory(prefix="compiled_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
    return folder


@contextlib.contextmanager
def compilations() -> Iterator[list[str]]:
    """Gives a list that gets an entry for each program that is compiled in the block, or found compiled."""
    import jax  # after the environment is set

    compiled: list[str] = []

    def note(event, *_, **__):
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


COMPILED = share_compiled_programs()  # deleted when the first process of the tests ends
