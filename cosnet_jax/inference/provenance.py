"""What decides the maps of a video, apart from its frames: results that say the same need not be made again."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.config import as_stored
from cosnet_jax.inference.crf import CRFParams
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.models.parameters import named_leaves


def describe_inference(
    config: ConfigDict, variables: dict[str, Any], segmenter: Segmenter, params: CRFParams | None
) -> dict[str, Any]:
    """Describes what maps are made with.

    Args:
      config: of the network, at least its section `model`.
      variables: the network's parameters and statistics.
      segmenter: of the network.
      params: of the CRF, if there is one.

    Returns:
      What JSON can store: the version of this package, digests of its code and of the weights, the network, size,
      precision, options and CRF.
    """
    return {
        "version": metadata.version("cosnet_jax"),
        "code": digest_of_code(),
        "weights": digest_of(variables),
        "model": as_stored(config.model),
        "size": list(segmenter.size),
        "matmul_precision": segmenter.matmul_precision,
        "options": dataclasses.asdict(segmenter.options),
        "crf": dataclasses.asdict(params) if params else None,
    }


def digest_of(tree: Any) -> str:
    """Returns a digest of the names, types, shapes and values of a tree of arrays."""
    digest = hashlib.sha256()
    for name, leaf in named_leaves(tree).items():
        array = np.ascontiguousarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


@functools.cache
def digest_of_code() -> str:
    """Returns a digest of the modules of this package, which change between two versions of a checkout."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()
