"""Configurations: read from the command line, checked against misspelt keys, compared with stored ones."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from cosnet_jax.errors import InputError, report_input_errors
from cosnet_jax.ranges import MAX_SIZE, MIN_SIZE, check_ranges

STEP_KINDS = ("still", "video")  # of training steps
NEXT_STEP = "see the files of configs/, whose base.py lists all settings"
MATMUL_PRECISIONS = ("default", "float32")
# Keys of stored configurations that are named otherwise today.
RENAMED = {"cycle": "step_pattern"}
# Keys of stored configurations that no longer exist, with the value that today's code stands for.
REMOVED = {"model.width": 1.0, "data.max_gap": 0, "loss.orthogonal": 1e-4, "loss.orthogonal_matrix": "P"}
# Keys of the network that stored configurations may lack, with the value that they had by then.
ADDED = {"output_stride": 8, "low_level": 0, "reference_pooling": 1, "detail": 0}
IGNORED = ("model.affinity_budget", "model.remat")  # any value gives the same result


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
    with _importable(Path(path).absolute().parent.parent):  # `from configs import base`, also from the program `cosnet`
        _parse(argv, values, holder)
    return holder.value


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Lets modules of a folder be imported in the block, after all others of their name."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _parse(argv: list[str], values: flags.FlagValues, holder: flags.FlagHolder) -> None:
    """Sets flags from the command line, whose first entry is the program's name."""
    try:
        rest = values(argv)
        if len(rest) > 1:
            raise InputError(f"unexpected argument {rest[1]!r}; settings are given as --config.KEY=VALUE")
        holder.value.to_dict()  # a file that failed to load says so only when it is used
    except flags.Error as error:
        raise InputError(f"{' '.join(str(error).split())}; --help lists the flags; {NEXT_STEP}") from None
    except InputError:
        raise
    except RecursionError:
        raise InputError("--config: a value is nested too deeply") from None
    except (KeyError, AttributeError, TypeError, ValueError, OSError, ImportError, SyntaxError) as error:
        told = error if isinstance(error, SyntaxError) or not error.args else error.args[-1]
        text = " ".join(str(told).replace("\\n", " ").replace("\\'", "'").split())
        text = text.strip("'\"") if text.startswith(("'", '"')) else text  # a KeyError quotes its argument
        text = re.sub(r".*(failure to load|Attempted \[[^]]*\]): ", "", text)  # what config_flags puts before the cause
        text = re.sub(r"^(\w+)'? Did you mean (.*)", r"there is no setting '\1'. Did you mean \2", text)
        if text.isidentifier():
            text = f"there is no setting {text!r}"
        raise InputError(f"--config: {text}; {NEXT_STEP}") from None


def flatten(config: ConfigDict, prefix: str = "") -> dict[str, object]:
    """Returns the settings by dotted key, e.g. {"optimizer.name": "sgd"}."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        nested = isinstance(value, ConfigDict)
        flat.update(flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return flat


def as_stored(config: ConfigDict) -> dict:
    """Returns the configuration as JSON gives it back (tuples as lists)."""
    return json.loads(json.dumps(config.to_dict()))


def upgrade_config(stored: dict) -> ConfigDict:
    """Brings a configuration that an earlier version stored to the keys of today.

    A removed key stays if it has a value that today's code does not stand for. So `changed_settings` reports it, and
    `build_model` refuses it in the model section; loading weights for inference minds no other section.

    Args:
      stored: what `as_stored` returned then.

    Returns:
      The configuration.
    """
    config = ConfigDict(stored)
    if isinstance(config.get("distributed"), bool):
        del config["distributed"]  # how a training was started decides nothing
    for old, new in RENAMED.items():
        if old in config:
            config[new] = config[old]
            del config[old]
    for dotted, expected in REMOVED.items():
        section, key = dotted.split(".")
        if config.get(section, {}).get(key) == expected:
            del config[section][key]
    if isinstance(config.get("model"), ConfigDict):
        config.model.update({key: value for key, value in ADDED.items() if key not in config.model})
    return config


def parse_config(text: str | bytes) -> ConfigDict:
    """Reads the JSON of a stored configuration, see `accept_config`."""
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"its configuration is no JSON: {error}") from None
    return accept_config(stored)


def accept_config(stored: Any) -> ConfigDict:
    """Takes a stored configuration that need not be trusted.

    Args:
      stored: what JSON gave.

    Returns:
      The configuration, see `upgrade_config`; it has at least the sections `model` and `inference`.

    Raises:
      InputError: it is no configuration.
    """
    with report_setting_errors():
        config = upgrade_config(stored)
        if not all(isinstance(config.get(section), ConfigDict) for section in ("model", "inference")):
            raise InputError("its configuration has no settings of the model and of inference")
        check_ranges(config)
    return config


@contextlib.contextmanager
def report_setting_errors() -> Iterator[None]:
    """Turns what code raises at a setting that is missing or of a wrong type into an InputError.

    The command line checks types, but a stored configuration comes with a file that someone else may have written.
    """
    try:
        yield
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the configuration has a setting that is missing or of a wrong type: {error}") from error


def changed_settings(before: ConfigDict, after: ConfigDict) -> dict[str, tuple[object, object]]:
    """Compares two configurations, or the same section of both.

    Args:
      before: the stored configuration.
      after: the present one. Keys that only it has do not count, nor do the keys in `IGNORED`.

    Returns:
      Dotted key -> (value before, value after) of every setting that differs; None where `after` lacks the key.
    """
    old, new = flatten(ConfigDict(as_stored(before))), flatten(ConfigDict(as_stored(after)))
    return {
        key: (old[key], new.get(key))
        for key in sorted(old)
        if old[key] != new.get(key) and not f"model.{key}".endswith(IGNORED)
    }


def describe_changes(changes: dict[str, tuple[object, object]], most: int = 3) -> str:
    """Returns the first few of `changed_settings` as one line of text."""
    parts = [f"{key} was {old!r} and is {new!r}" for key, (old, new) in changes.items()]
    return "; ".join(parts[:most]) + ("; ..." if len(parts) > most else "")


def check_has_coattention(config: ConfigDict) -> None:
    """Raises an InputError if the network of a configuration has no co-attention."""
    if config.model.coattention == "none":
        raise InputError("model.coattention is 'none'; expected one of the co-attentions")


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


def check_matmul_precision(precision: str) -> None:
    """Raises an InputError for an unknown precision of products and convolutions on accelerators."""
    if precision not in MATMUL_PRECISIONS:
        raise InputError(f"matmul_precision is {precision!r}; expected {' or '.join(MATMUL_PRECISIONS)}")


def check_config(config: ConfigDict) -> None:
    """Checks what can be known before any work.

    Raises:
      InputError: naming the key, its value and what was expected.
    """
    parse_step_pattern(config.step_pattern)
    for key in ("total_steps", "batch_size", "log_every", "checkpoint_every", "keep_checkpoints"):
        if config[key] < 1:
            raise InputError(f"{key} is {config[key]}; expected at least 1")
    steps = tuple(config.profile_steps)
    if steps and not (len(steps) == 2 and 1 <= steps[0] <= steps[1]):
        raise InputError(f"profile_steps is {steps}; expected (first, last) step, counted from 1")
    if config.stopped_status not in range(256):
        raise InputError(f"stopped_status is {config.stopped_status}; expected an exit status, 0 to 255")
    check_matmul_precision(config.matmul_precision)
    check_size("size", config.size)
    check_size("inference.size", inference_size(config))
    check_ranges(config)


def check_size(key: str, size: tuple[int, ...]) -> None:
    """Raises an InputError if the size of a network's input, called `key`, is not (height, width) or out of range."""
    if len(size) != 2 or min(size) < MIN_SIZE or max(size) > MAX_SIZE:
        raise InputError(f"{key} is {size}; expected (height, width) of at least {MIN_SIZE} pixels, at most {MAX_SIZE}")
