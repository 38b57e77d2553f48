"""Every module imports where an operating system lacks what only POSIX has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import importlib, os, pkgutil, signal, sys

EXTRAS = {"gradio", "onnx", "pydensecrf", "ray", "torch"}
import cosnet_jax

libraries = ("array_record.python.array_record_module", "cv2", "filelock", "flax.linen", "grain.python", "jax", "numba",
             "av", "gradio", "matplotlib.pyplot", "ray", "optax", "orbax.checkpoint", "tensorboardX", "tqdm",
             "tensorflow_datasets")
for name in libraries:  # they look for themselves
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        pass
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for module, name in ((os, "sched_getaffinity"), (os, "fork"), (signal, "SIGKILL")):
    delattr(module, name)
for found in pkgutil.walk_packages(cosnet_jax.__path__, "cosnet_jax."):
    if found.name == "cosnet_jax.__main__":
        continue
    try:
        importlib.import_module(found.name)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
"""


@pytest.mark.slow  # continuous integration imports everything on Windows
@pytest.mark.process
def test_every_module_imports_without_posix():
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
