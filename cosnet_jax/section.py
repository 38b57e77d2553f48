"""Sections of the configuration: frozen dataclasses, one beside the code that reads it.

A section declares its settings once, with type, default and range:

    @dataclass(frozen=True)
    class LossConfig(Section, name="loss"):
        entropy: str = setting("balanced", choices=("balanced", "plain"))  # Eq. 11, or plain cross-entropy
        iou: float = setting(0.0, low=0.0)  # weight of 1 - soft IoU
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from ml_collections import ConfigDict, config_dict

from cosnet_jax.errors import InputError

# What a setting of a type accepts, in words too. A truth value is no number.
ACCEPTED: dict[type, tuple[Any, str]] = {
    bool: (bool, "a truth value"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "a text"),
}


def setting(
    default: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    choices: Sequence[Any] = (),
    of: type | None = None,
    length: int | None = None,
) -> Any:
    """Declares a setting of a `Section`.

    Args:
      default: its value where nothing is given; None: unset.
      low, high: the range of a number, or of each entry of a tuple.
      choices: all values that it may have; () for any.
      of: the type of a setting that is None by default, or of a tuple's entries; None takes the default's.
      length: the number of entries that a tuple must have; None for any.

    Returns:
      The field.
    """
    metadata = {"low": low, "high": high, "choices": tuple(choices), "of": of, "length": length}
    return dataclasses.field(default=default, metadata=metadata)


ANY = setting(None).metadata


class Section:
    """Base of all sections. Making one checks every setting and raises an `InputError` that names it and its value."""

    section: ClassVar[str]

    def __init_subclass__(cls, name: str, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls.section = name

    def __post_init__(self):
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = _checked(f"{self.section}.{field.name}".lstrip("."), getattr(self, field.name), field)
            object.__setattr__(self, field.name, value)

    @classmethod
    def read(cls, values: Mapping[str, Any] | Section) -> Self:
        """Makes a section of what a configuration holds.

        Args:
          values: the section's part of the configuration; settings that it lacks have their default.

        Raises:
          InputError: for a key that the section does not have, or a value that it cannot have.
        """
        if isinstance(values, cls):
            return values
        if not isinstance(values, Mapping | ConfigDict):
            raise InputError(f"{cls.section} is {values!r}; expected settings by name")
        fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if unknown := sorted(set(values) - set(fields)):
            raise InputError(f"there is no setting {f'{cls.section}.{unknown[0]}'.lstrip('.')!r}")
        made = {}
        for name, value in values.items():
            default: Any = fields[name].default
            made[name] = type(default).read(value) if isinstance(default, Section) else value
        return cls(**made)

    @classmethod
    def defaults(cls) -> ConfigDict:
        """The section as a part of a configuration, with placeholders for what is unset."""
        made = {}
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            default: Any = field.default
            if isinstance(default, Section):
                default = type(default).defaults()
            elif default is None:
                default = config_dict.placeholder(tuple if field.metadata["length"] else field.metadata["of"])
            made[field.name] = default
        return ConfigDict(made)


def _checked(key: str, value: Any, field: dataclasses.Field) -> Any:
    """Returns the value of a setting, lists as tuples; raises an InputError if its type or range is wrong."""
    default: Any = field.default
    rules = field.metadata or ANY
    if isinstance(default, Section):
        return value
    if value is None and default is None:
        return None
    several = isinstance(default, tuple) or (default is None and rules["length"] is not None)
    if several:
        if not isinstance(value, list | tuple) or rules["length"] not in (None, len(value)):
            count = "a list" if rules["length"] is None else f"{rules['length']} entries"
            raise InputError(f"{key} is {value!r}; expected {count}")
        value = tuple(tuple(entry) if isinstance(entry, list) else entry for entry in value)
    kind = rules["of"] or (type(default[0]) if several and default else type(default))
    for entry in value if several else (value,):
        if rules["choices"] and entry not in rules["choices"]:
            raise InputError(f"{key} is {value!r}; expected {' or '.join(map(str, rules['choices']))}")
        accepted, named = ACCEPTED.get(kind, (object, ""))
        if not isinstance(entry, accepted) or (isinstance(entry, bool) and kind in (int, float)):
            raise InputError(f"{key} is {value!r}; expected {'entries that are each ' if several else ''}{named}")
        if kind in (int, float) and not rules["low"] <= entry <= rules["high"]:
            bound = f"from {rules['low']} to {rules['high']}"
            bound = f"at least {rules['low']}" if math.isinf(rules["high"]) else bound
            raise InputError(f"{key} is {value!r}; expected {named} {bound}")
    return value
