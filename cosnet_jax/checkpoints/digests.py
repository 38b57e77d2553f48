"""Digests of what a checkpoint holds. A file system or a copy can change bits, and the formats below do not notice."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import jax
import numpy as np

from cosnet_jax.models.parameters import parameter_name

SHAPES = "shapes"  # name of the digest of names and shapes


def digest_of(tree: Any) -> str:
    """Returns a digest of the names, types, shapes and values of a tree of arrays."""
    digest = hashlib.blake2b(digest_size=16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def digest_of_json(value: Any) -> str:
    """Returns a digest of what JSON can store, the same for what JSON gives back."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


def shapes_of(tree: Any) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a tree of arrays by name."""
    return {parameter_name(path): tuple(leaf.shape) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def digests_of_state(state: Any) -> dict[str, str]:
    """Returns the digests of the parts of a state (a dict, or a dataclass such as `TrainState`), and of its shapes."""
    parts = state if isinstance(state, dict) else vars(state)
    return {SHAPES: digest_of_json(shapes_of(state))} | {name: digest_of(part) for name, part in parts.items()}
