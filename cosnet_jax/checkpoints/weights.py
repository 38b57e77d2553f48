"""The weights file: a network's variables as safetensors, with its configuration as JSON in the metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np
import safetensors
import safetensors.numpy
from ml_collections import ConfigDict

from cosnet_jax.config import flatten, parse_config
from cosnet_jax.errors import InputError
from cosnet_jax.files import expanded, write_bytes

SUFFIX = ".safetensors"
CONFIG = "config"  # name of the configuration in the metadata
PATHS = ("init", "data.data_dir")  # settings of the machine that trained the network


def save_weights(path: str | Path, variables: dict[str, Any], config: ConfigDict, half: bool = False) -> None:
    """Writes a weights file. Its configuration leaves out the paths of the machine that trained the network.

    Args:
      path: the file, of suffix .safetensors.
      variables: {"params": ..., "batch_stats": ...}.
      config: the whole configuration.
      half: at half precision: half the size.

    Raises:
      InputError: for another suffix, a value that float16 cannot hold, or a file that cannot be written.
    """
    path = expanded(path)
    if path.suffix != SUFFIX:
        raise InputError(f"{path}: expected a file name that ends in {SUFFIX}")
    arrays = flax.traverse_util.flatten_dict(jax.device_get(variables), sep="/")
    for name, array in arrays.items():
        if half and not (np.abs(array) <= np.finfo(np.float16).max).all():
            raise InputError(f"{path}: {name} has values that float16 cannot hold")
    kind = np.float16 if half else np.float32
    arrays = {name: np.ascontiguousarray(array, kind) for name, array in arrays.items()}
    write_bytes(path, safetensors.numpy.save(arrays, {CONFIG: json.dumps(_without_paths(config))}))


def _without_paths(config: ConfigDict) -> dict[str, Any]:
    flat = flatten(config)
    cleaned = {key: "" if key in PATHS or key.endswith(".source") else value for key, value in flat.items()}
    return flax.traverse_util.unflatten_dict(cleaned, sep=".")


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Any], ConfigDict]:
    """Reads a weights file; the file need not be trusted.

    Args:
      path: the file.

    Returns:
      ({"params": ..., "batch_stats": ...} in float32, the configuration it was trained with).

    Raises:
      InputError: if it is no weights file.
    """
    try:
        with safetensors.safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
        config = parse_config(metadata[CONFIG])
        tree = flax.traverse_util.unflatten_dict(arrays, sep="/")
    except KeyError:
        raise InputError(f"checkpoint: {path} has no configuration; expected what `cosnet export` writes") from None
    except Exception as error:  # the parser has errors of its own for damage
        raise InputError(f"checkpoint: {path} is no weights file ({str(error)[:200]})") from None
    return {"params": tree.get("params", {}), "batch_stats": tree.get("batch_stats", {})}, config
