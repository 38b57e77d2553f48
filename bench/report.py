"""What the measurements say of the machine, and how they are stored."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from cosnet_jax.files import atomic_write
from cosnet_jax.threads import usable_cores

sys.path.append(str(Path(__file__).parents[1]))  # where configs/ is


def machine() -> str:
    """Returns the device in words, with the load that other work puts on a CPU."""
    kind = jax.devices()[0].device_kind
    if jax.default_backend() != "cpu":
        return f"{jax.device_count()} x {kind}"
    return f"CPU ({platform.machine()}), {usable_cores()} cores, load {os.getloadavg()[0]:.1f}"


def write_json(path: Path, settings: dict[str, Any], results: Any) -> None:
    """Writes results with the settings, the machine, the date, the commit and JAX's version."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    about = {
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip() or None,
        "jax": jax.__version__,
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({**about, "settings": settings, "results": results}, indent=1) + "\n")
