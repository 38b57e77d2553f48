"""Digests of what a checkpoint holds. A file system or a copy can change bits, and the formats below do not notice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import future

from cosnet_jax.models.parameters import named_leaves

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
    return {name: tuple(leaf.shape) for name, leaf in named_leaves(tree).items()}


def digests_of_state(state: Any) -> dict[str, str]:
    """Returns the digests of the parts of a state (a dict, or a dataclass such as `TrainState`), and of its shapes."""
    parts = state if isinstance(state, dict) else vars(state)
    return {SHAPES: digest_of_json(shapes_of(state))} | {name: digest_of(part) for name, part in parts.items()}


class DigestHandler(ocp.JsonCheckpointHandler):
    """Writes digests as JSON. Arrays are read in the thread that writes the files, while the training goes on.

    `_save_fn`, which writes the file, is no public name of orbax; `requirements/base.txt` bounds its version.
    """

    async def async_save(self, directory: Any, item: Any = None, args: DigestSave | None = None) -> list[future.Future]:
        """Returns at once with the futures of what is left to do; see the base class."""
        return [future.CommitFutureAwaitingContractedSignals(self._save_digests(directory, args), name="digests")]

    async def _save_digests(self, directory: Any, args: DigestSave) -> None:
        if args.state is not None:
            await self._save_fn(args.digests | digests_of_state(args.state), directory)


@ocp.args.register_with_handler(DigestHandler, for_save=True)
@dataclasses.dataclass
class DigestSave(ocp.args.CheckpointArgs):
    """What `DigestHandler` saves.

    Attributes:
      digests: of what is no array.
      state: a copy that nothing changes any more, whose digests are added; None in all processes but the first, which
        alone writes.
    """

    digests: dict[str, str]
    state: Any


@ocp.args.register_with_handler(DigestHandler, for_restore=True)
@dataclasses.dataclass
class DigestRestore(ocp.args.JsonRestore):
    """Gives the digests back as a dict."""
