"""Types and ranges of the settings that decide how a network segments. A stranger may have stored a configuration."""

from __future__ import annotations

import numbers
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cosnet_jax.errors import InputError

MIN_SIZE = 17  # pixels; the features of a smaller input have a single position
MAX_SIZE = 4096
KINDS: dict[type, tuple[Any, str]] = {
    int: (numbers.Integral, "a whole number"), float: (numbers.Real, "a number"), bool: (bool, "a truth value")
}  # fmt: skip


class Range(NamedTuple):
    """What a setting may be.

    Attributes:
      kind: int, float (which includes int) or bool (which is no number).
      low, high: the lowest and the highest value.
      most: of a list, the most entries; each is in the range. 0: the setting is no list.
    """

    kind: type
    low: float
    high: float
    most: int = 0


FLAG = Range(bool, False, True)
# By dotted key. Beyond these ranges nothing useful is computed, and some of it without end.
RANGES = {
    "seed": Range(int, 0, 2**32 - 1),
    "size": Range(int, MIN_SIZE, MAX_SIZE, most=2),
    "model.channels": Range(int, 1, 4096),
    "model.head_features": Range(int, 1, 4096),
    "model.blocks": Range(int, 1, 100),
    "model.output_stride": Range(int, 8, 16),
    "model.stride_in_first": FLAG,
    "model.ceil_mode": FLAG,
    "model.aspp_depth": Range(int, 1, 4096),
    "model.aspp_rates": Range(int, 1, 512, most=8),
    "model.aspp_kernel": Range(int, 1, 9),
    "model.prelu": FLAG,
    "model.low_level": Range(int, 0, 4096),
    "model.detail": Range(int, 0, 4096),
    "model.gate_bias": FLAG,
    "model.reference_pooling": Range(int, 1, 64),
    "model.affinity_budget": Range(float, 0, 2**17),
    "model.remat": FLAG,
}


def check_ranges(config: ConfigDict) -> None:
    """Checks those settings of `RANGES` that a configuration has.

    Raises:
      InputError: naming the key, its value and what was expected.
    """
    for key in RANGES:
        *sections, name = key.split(".")
        section: Any = config
        for part in sections:
            section = section.get(part) if isinstance(section, ConfigDict) else None
        if isinstance(section, ConfigDict) and name in section:
            check_range(key, section[name])


def check_range(key: str, value: Any) -> None:
    """Raises an InputError if a value for a setting of `RANGES` has another type, or is out of its range."""
    kind, low, high, most = RANGES[key]
    accepted, named = KINDS[kind]
    fits = not most or (isinstance(value, list | tuple) and len(value) <= most)
    if not fits or not all(
        isinstance(one, accepted) and isinstance(one, bool) == (kind is bool) and low <= one <= high
        for one in (value if most else [value])
    ):
        several = f"at most {most} entries, each " if most else ""
        raise InputError(f"{key} is {value!r}; expected {several}{named} from {low} to {high}")
