"""Configurations: read from a file with overrides from the command line, stored as JSON, compared."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import flax
from absl import flags
from ml_collections import ConfigDict, config_flags

from cosnet_jax.errors import InputError

MIN_SIZE = 17  # pixels; the features of a smaller input have a single position


def read_config(path: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Reads a configuration.

    Args:
      path: a file, or the name of a shipped configuration, e.g. "davis16_lite"; with `:MODE` if it has modes.
      overrides: `--config.KEY=VALUE` each.

    Returns:
      The configuration, locked.

    Raises:
      InputError: for a file, a mode or a key that does not exist, a value of another type, or any other flag.
    """
    file, _, mode = path.partition(":")
    shipped = configs_folder() / f"{file}.py"
    if not Path(file).suffix and shipped.is_file():
        file = str(shipped)
    _make_configs_importable(Path(file).absolute().parent)
    argv = ["", f"--config={file}{':' if mode else ''}{mode}", *overrides]
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values, lock_config=True, sys_argv=argv)
    try:
        rest = values(argv)
        holder.value.to_dict()  # a file that failed to load says so only when it is used
    except (InputError, ModuleNotFoundError):
        raise
    except (Exception, RecursionError) as error:  # the file is Python, and so are values
        told = " ".join(str(error.args[-1] if error.args else error).replace("\\n", " ").split())
        raise InputError(f"--config={path}: {told[:500]}; configs/base.py lists the settings") from None
    if len(rest) > 1:
        raise InputError(f"unexpected argument {rest[1]!r}; settings are given as --config.KEY=VALUE")
    return holder.value


def configs_folder() -> Path:
    """Returns the folder of the shipped configurations: inside a wheel's package, or beside it in a checkout."""
    package = Path(__file__).parent
    return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def _make_configs_importable(beside: Path) -> None:
    """Lets a configuration say `from configs import base`, whose files may lie beside it or are the shipped ones."""
    if "configs" not in sys.modules:
        folder = beside if (beside / "base.py").is_file() else configs_folder()
        module = ModuleType("configs")
        module.__path__ = [str(folder)]
        sys.modules["configs"] = module


def flatten(config: ConfigDict) -> dict[str, object]:
    """Returns the settings by dotted key, e.g. {"optimizer.name": "sgd"}."""
    return flax.traverse_util.flatten_dict(config.to_dict(), sep=".")


def as_stored(config: ConfigDict) -> dict:
    """Returns the configuration as JSON gives it back (tuples as lists)."""
    return json.loads(json.dumps(config.to_dict()))


def parse_config(text: str | bytes) -> ConfigDict:
    """Reads the JSON of a stored configuration; it has at least the sections `model` and `inference`.

    Raises:
      InputError: it is no configuration.
    """
    try:
        config = ConfigDict(json.loads(text))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"its configuration is no JSON of settings: {error}") from None
    if not all(isinstance(config.get(section), ConfigDict) for section in ("model", "inference")):
        raise InputError("its configuration has no settings of the model and of inference")
    return config


def changed_settings(before: ConfigDict, after: ConfigDict) -> dict[str, tuple[object, object]]:
    """Compares two configurations, or the same section of both.

    Returns:
      Dotted key -> (value before, value after) of every setting that differs; None where one lacks the key.
    """
    old, new = flatten(ConfigDict(as_stored(before))), flatten(ConfigDict(as_stored(after)))
    return {key: (old.get(key), new.get(key)) for key in sorted(old | new) if old.get(key) != new.get(key)}


def describe_changes(changes: dict[str, tuple[object, object]]) -> str:
    """Returns what `changed_settings` found as one line of text."""
    return "; ".join(f"{key} was {old!r} and is {new!r}" for key, (old, new) in changes.items())


def inference_size(config: ConfigDict) -> tuple[int, int]:
    """(height, width) of the network's input when it segments: `inference.size`, or that of training."""
    return tuple(config.inference.get("size") or config.size)
