"""The working directory of a training: who trains in it, and whose configuration it holds."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from cosnet_jax import parallel
from cosnet_jax.checkpoints.store import LATEST
from cosnet_jax.config import changed_settings, describe_changes, parse_config
from cosnet_jax.errors import InputError
from cosnet_jax.files import claimed, writable_folder, write_text

CONFIG_FILE = "config.json"
LOCK_FILE = ".lock"
# Settings that may differ between the runs of one training; all others decide its result.
FREE_SETTINGS = (
    "name", "log_every", "validate_every", "validate_frames", "checkpoint_every", "keep_checkpoints", "stopped_status",
    "nonfinite_steps",  # a training that stopped may go on by skipping
    "profile_steps", "distributed", "init", "inference", "data.data_dir", "data.threads",
    "data.eval_dataset", "data.eval_split", "evaluation",
)  # fmt: skip


@contextlib.contextmanager
def claimed_workdir(config: ConfigDict, workdir: Path) -> Iterator[None]:
    """Keeps a working directory for this training while the block runs, see `claimed` and `claim_workdir`."""
    with claimed(writable_folder(workdir), LOCK_FILE, "trains"):
        claim_workdir(config, workdir)
        yield


def claim_workdir(config: ConfigDict, workdir: Path) -> None:
    """Writes the configuration into a working directory, after comparing it with that of the training there.

    A training that ended before its first checkpoint leaves the folder to any other. `total_steps` may rise.

    Args:
      config: the whole configuration.
      workdir: the folder; it is made if need be.

    Raises:
      InputError: the folder holds a training with another configuration, or it cannot be written.
    """
    path = writable_folder(workdir) / CONFIG_FILE
    if path.is_file() and any(entry.name.isdecimal() for entry in (workdir / LATEST).glob("*")):
        try:
            stored = parse_config(path.read_bytes())
        except (OSError, InputError) as error:
            raise InputError(f"{path} is not a readable configuration ({error})") from None
        changes = changed_settings(stored, config)
        if stored.total_steps < config.total_steps:
            del changes["total_steps"]
            parallel.say(f"total_steps rises from {stored.total_steps}: the learning rate ends at {config.total_steps}")
        decisive = {key: change for key, change in changes.items() if not is_free(key)}
        if decisive:
            changed = describe_changes(decisive)
            raise InputError(
                f"{workdir} holds a training with another configuration ({changed}); expected the same settings, or a "
                "new --workdir"
            )
    write_text(path, json.dumps(config.to_dict(), indent=1) + "\n")


def is_free(key: str) -> bool:
    """Returns whether a setting (dotted key) may change between the runs of one training."""
    return key.endswith(".source") or any(key == free or key.startswith(f"{free}.") for free in FREE_SETTINGS)
