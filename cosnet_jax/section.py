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
import types
import typing
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


def setting(default: Any, *, low: float = -math.inf, high: float = math.inf, choices: Sequence[Any] = ()) -> Any:
    """Declares a setting: its default (None: unset), its range, or that of a tuple's entries, or all its values."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "choices": choices})


class Section:
    """Base of all sections. Making one checks every setting and raises an `InputError` that names it and its value."""

    section: ClassVar[str]

    def __init_subclass__(cls, name: str, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls.section = name

    def __post_init__(self):
        for name, (annotation, field) in _fields(type(self)).items():
            value = _checked(_key(self, name), getattr(self, name), annotation, field.metadata)
            object.__setattr__(self, name, value)

    @classmethod
    def read(cls, values: Mapping[str, Any] | Section) -> Self:
        """Makes a section of its part of a configuration; settings that are not there have their default.

        Raises:
          InputError: for a key that the section does not have, or a value that it cannot have.
        """
        if isinstance(values, cls):
            return values
        if not isinstance(values, Mapping | ConfigDict):
            raise InputError(f"{cls.section} is {values!r}; expected settings by name")
        fields, made = _fields(cls), {}
        if unknown := sorted(set(values) - set(fields)):
            raise InputError(f"there is no setting {_key(cls, unknown[0])!r}")
        for name, value in values.items():
            kind = fields[name][0]
            made[name] = kind.read(value) if _is_section(kind) else value
        return cls(**made)

    @classmethod
    def defaults(cls) -> ConfigDict:
        """The section as a part of a configuration, with placeholders for what is unset."""
        made = {}
        for name, (annotation, field) in _fields(cls).items():
            made[name] = annotation.defaults() if _is_section(annotation) else field.default
            if field.default is None:
                kind = typing.get_args(annotation)[0]
                made[name] = config_dict.placeholder(typing.get_origin(kind) or kind)
        return ConfigDict(made)


def _fields(section: Any) -> dict[str, tuple[Any, dataclasses.Field]]:
    """Name of each setting of a section -> its type and its field."""
    annotations = typing.get_type_hints(section)
    return {field.name: (annotations[field.name], field) for field in dataclasses.fields(section)}


def _key(section: Any, name: str) -> str:
    return f"{section.section}.{name}".lstrip(".")


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _checked(key: str, value: Any, annotation: Any, rules: Mapping[str, Any]) -> Any:
    """Returns the value of a setting, lists as tuples; raises an InputError if its type or range is wrong."""
    if isinstance(annotation, types.UnionType):
        return None if value is None else _checked(key, value, typing.get_args(annotation)[0], rules)
    if _is_section(annotation):
        return value
    if typing.get_origin(annotation) is tuple:
        kinds = typing.get_args(annotation)
        if isinstance(value, list | tuple):
            kinds = kinds[:1] * len(value) if kinds[-1] is ... else kinds
        if not isinstance(value, list | tuple) or len(kinds) != len(value):
            raise InputError(f"{key} is {value!r}; expected {'a list' if ... in kinds else f'{len(kinds)} entries'}")
        return tuple(_checked(key, entry, kind, rules) for entry, kind in zip(value, kinds, strict=True))
    if (choices := rules.get("choices")) and value not in choices:
        raise InputError(f"{key} is {value!r}; expected {' or '.join(map(str, choices))}")
    accepted, named = ACCEPTED[annotation]
    if not isinstance(value, accepted) or (isinstance(value, bool) and annotation is not bool):
        raise InputError(f"{key} is {value!r}; expected {named}")
    if annotation in (int, float) and rules and not rules["low"] <= value <= rules["high"]:
        bound = f"at least {rules['low']}" if math.isinf(rules["high"]) else f"from {rules['low']} to {rules['high']}"
        raise InputError(f"{key} is {value!r}; expected {named} {bound}")
    return value
