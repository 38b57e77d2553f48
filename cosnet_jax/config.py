"""Configurations on the command line: read, checked against misspelt keys, kept beside what they made."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from cosnet_jax.errors import InputError, report_input_errors

STEP_KINDS = ("still", "video")  # of training steps
# Keys that may differ between the runs of one training; all others decide its result.
FREE_KEYS = (
    "name", "log_every", "validate_every", "validate_frames", "checkpoint_every", "keep_checkpoints", "distributed",
    "init", "inference", "data.data_dir", "data.threads", "data.eval_dataset", "data.eval_split",
)  # fmt: skip
CONFIG_FILE = "config.json"
MIN_SIZE = 17  # pixels; below, the features have a single position


def run(main: Callable[[ConfigDict], None]) -> None:
    """Defines `--config=FILE` with overrides `--config.KEY=VALUE`, reads all flags, then calls `main(config)`.

    What is wrong with a flag, or raises an `InputError` in `main`, is one line and exit status 1.

    Args:
      main: the program.
    """
    holder = config_flags.DEFINE_config_file("config", help_string="A file of configs/.", lock_config=True)
    flags.mark_flag_as_required("config")

    def parse(argv: list[str]) -> list[str]:
        _parse(argv, flags.FLAGS, holder)
        return argv[:1]

    with report_input_errors():
        logging.set_verbosity(logging.WARNING)  # orbax would log every file it touches
        app.run(lambda _: main(holder.value), flags_parser=parse)


def read_config(path: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Reads a configuration for a program whose other arguments are no flags.

    Args:
      path: a file of configs/, with `:MODE` if it has modes.
      overrides: `--config.KEY=VALUE` each.

    Returns:
      The configuration, locked.

    Raises:
      InputError: for a file, a mode or a key that does not exist, a value of another type, or any other flag.
    """
    argv = ["", f"--config={path}", *overrides]
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values, lock_config=True, sys_argv=argv)
    _parse(argv, values, holder)
    return holder.value


def _parse(argv: list[str], values: flags.FlagValues, holder: flags.FlagHolder) -> None:
    """Sets flags from the command line, whose first entry is the program's name."""
    try:
        rest = values(argv)
        if len(rest) > 1:
            raise InputError(f"unexpected argument {rest[1]!r}; settings are given as --config.KEY=VALUE")
        holder.value.to_dict()  # a file that failed to load says so only when it is used
    except flags.Error as error:
        raise InputError(str(error)) from None
    except (KeyError, AttributeError, TypeError, OSError, ImportError, SyntaxError) as error:
        text = str(error.args[-1] if error.args else error).replace("\\n", " ").replace("\\'", "'").strip("'\"")
        raise InputError(f"--config: {' '.join(text.split())}") from None


def flatten(config: ConfigDict, prefix: str = "") -> dict[str, object]:
    """The settings by dotted key, e.g. {"optimizer.name": "sgd"}."""
    flat = {}
    for key, value in config.items():
        nested = isinstance(value, ConfigDict)
        flat.update(flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return flat


def as_stored(config: ConfigDict) -> dict:
    """The configuration as JSON gives it back (tuples as lists)."""
    return json.loads(json.dumps(config.to_dict()))


def changed_settings(before: ConfigDict, after: ConfigDict) -> dict[str, tuple[object, object]]:
    """Compares two configurations, or the same section of both.

    Args:
      before: the stored configuration.
      after: the present one. Keys that only it has do not count, nor does `model.affinity_budget`.

    Returns:
      Dotted key -> (value before, value after) of every setting that differs; None where `after` lacks the key.
    """
    old, new = flatten(ConfigDict(as_stored(before))), flatten(ConfigDict(as_stored(after)))
    return {
        key: (old[key], new.get(key))
        for key in sorted(old)
        if old[key] != new.get(key) and not f"model.{key}".endswith("model.affinity_budget")
    }


def differences(before: ConfigDict, after: ConfigDict) -> list[str]:
    """Returns `changed_settings` in words."""
    return [f"{key} was {old!r} and is {new!r}" for key, (old, new) in changed_settings(before, after).items()]


def parse_step_pattern(step_pattern: str) -> list[str]:
    """The kinds of steps of `config.step_pattern`, e.g. "still,video,video".

    Raises:
      InputError: for a kind that does not exist, or none.
    """
    kinds = [kind.strip() for kind in step_pattern.split(",")]
    for kind in kinds:
        if kind not in STEP_KINDS:
            raise InputError(
                f"step_pattern is {step_pattern!r}; expected {' and '.join(STEP_KINDS)}, separated by commas"
            )
    return kinds


def inference_size(config: ConfigDict) -> tuple[int, int]:
    """(height, width) of the network's input when it segments: `inference.size`, or that of training."""
    return tuple(config.inference.get("size") or config.size)


def check_config(config: ConfigDict) -> None:
    """Checks what can be known before any work.

    Raises:
      InputError: naming the key, its value and what was expected.
    """
    parse_step_pattern(config.step_pattern)
    for key in ("total_steps", "batch_size", "log_every", "checkpoint_every", "keep_checkpoints"):
        if config[key] < 1:
            raise InputError(f"{key} is {config[key]}; expected at least 1")
    if not 0 <= config.head_dropout < 1:
        raise InputError(f"head_dropout is {config.head_dropout}; expected a share, at least 0 and below 1")
    for key, size in (("size", config.size), ("inference.size", inference_size(config))):
        if len(size) != 2 or min(size) < MIN_SIZE:
            raise InputError(f"{key} is {size}; expected (height, width) of at least {MIN_SIZE} pixels")


def keep_config(config: ConfigDict, workdir: Path) -> None:
    """Writes the configuration into a working directory, or compares it with the one that is there.

    Args:
      config: the whole configuration.
      workdir: is made if need be.

    Raises:
      InputError: if the directory belongs to a training with another configuration, or cannot be written.
    """
    path = workdir / CONFIG_FILE
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            changed = [
                line
                for line in differences(ConfigDict(json.loads(path.read_text())), config)
                if not line.startswith(FREE_KEYS) and ".source was" not in line
            ]
            if changed:
                shown = "; ".join(changed[:3]) + ("; ..." if len(changed) > 3 else "")
                raise InputError(f"{workdir} holds a training with another configuration ({shown}); expected a new one")
        partial = path.with_suffix(".tmp")
        partial.write_text(json.dumps(config.to_dict(), indent=1) + "\n")
        partial.replace(path)
    except OSError as error:
        raise InputError(f"workdir: {workdir} cannot be written ({error.strerror})") from None
