"""Names of parameters: the path of an array in a tree."""

from __future__ import annotations

from typing import Any

import jax


def parameter_name(path: tuple) -> str:
    """The name that patterns are matched against, e.g. "encoder/aspp/join_conv/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by name, e.g. "params/affinity/weight"."""
    return {parameter_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
