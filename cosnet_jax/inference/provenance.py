"""What decides the maps of a video, apart from its frames: results that say the same need not be made again."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cosnet_jax.inference.segmenter import Segmenter


def describe_inference(segmenter: Segmenter) -> dict[str, Any]:
    """Returns, as JSON stores it, the package's version, digests of its code and of the weights, and all settings."""
    return {
        "version": metadata.version("cosnet_jax"),
        "code": digest_of_code(),
        "weights": digest_of_arrays(segmenter.variables),
        "model": repr(segmenter.model),
        "matmul_precision": segmenter.matmul_precision,
        "inference": json.loads(json.dumps(dataclasses.asdict(segmenter.config))),
    }


def digest_of(*parts: Any) -> str:
    """Returns a short digest of bytes or contiguous arrays."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def digest_of_json(value: Any) -> str:
    """Returns a digest of what JSON can store, the same for what JSON gives back."""
    return digest_of(json.dumps(value, sort_keys=True).encode())


def digest_of_arrays(tree: Any) -> str:
    """Returns a digest of the names, types, shapes and values of a tree of arrays."""
    parts = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        parts += [f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode(), array.tobytes()]
    return digest_of(*parts)


@functools.cache
def digest_of_code() -> str:
    """Returns a digest of the modules of this package, which change between two versions of a checkout."""
    package = Path(__file__).parents[1]
    paths = sorted(package.rglob("*.py"))
    return digest_of_json({str(path.relative_to(package)): path.read_text("utf-8") for path in paths})
