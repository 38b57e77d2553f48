"""Names of parameters: paths of arrays in a tree."""

from __future__ import annotations

import re
from typing import Any

import jax


def parameter_name(path: tuple) -> str:
    """Returns the name of an array at a path, e.g. "encoder/aspp/join_conv/kernel"; patterns match against it."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by name, e.g. "params/affinity/weight"."""
    return {parameter_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def differing_names(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Returns the sorted names of the arrays that only one of two `named_leaves` has, or in another shape."""
    shapes = [{(name, leaf.shape) for name, leaf in leaves.items()} for leaves in (one, other)]
    return sorted({name for name, _ in shapes[0] ^ shapes[1]})


def part_of(name: str) -> str:
    """Returns the part of the network that an array of `named_leaves` belongs to, e.g. "affinity" or "encoder/body"."""
    found = re.match(r"\w+/(encoder/\w+|\w+)", name)
    return found[1] if found else name
