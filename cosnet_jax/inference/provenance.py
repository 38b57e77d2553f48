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
    weights = []  # names, types, shapes and values
    for path, leaf in jax.tree_util.tree_leaves_with_path(segmenter.variables):
        array = np.asarray(leaf)
        weights += [f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode(), array.tobytes()]
    return {
        "version": metadata.version("cosnet_jax"),
        "code": digest_of_code(),
        "weights": digest_of(*weights),
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


@functools.cache
def digest_of_code() -> str:
    """Returns a digest of the modules of this package, which change between two versions of a checkout."""
    package = Path(__file__).parents[1]
    paths = sorted(package.rglob("*.py"))
    return digest_of_json({str(path.relative_to(package)): path.read_text("utf-8") for path in paths})
