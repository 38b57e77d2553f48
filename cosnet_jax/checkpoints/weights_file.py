"""The weights file: an .npz of a trained network's variables at half precision, with its configuration."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.checkpoints.arrays import read_arrays
from cosnet_jax.config import parse_config
from cosnet_jax.errors import InputError
from cosnet_jax.files import atomic_write, expanded

SUFFIX = ".npz"
CONFIG = "config"  # name of the configuration among the arrays: JSON in a string

MOST_LEVELS = 32  # of a name; JAX cannot walk trees of thousands


def export_weights(path: str | Path, variables: dict[str, Any], config: ConfigDict) -> None:
    """Writes a weights file. Its configuration leaves out the paths of the machine that trained the network.

    Args:
      path: the file, of suffix .npz.
      variables: {"params": ..., "batch_stats": ...}.
      config: the whole configuration.

    Raises:
      InputError: for another suffix, a value that float16 cannot hold, or a file that cannot be written.
    """
    path = expanded(path)
    if path.suffix != SUFFIX:
        raise InputError(f"{path}: expected a file name that ends in {SUFFIX}")
    arrays = flax.traverse_util.flatten_dict(jax.device_get(variables), sep="/")
    for name, array in arrays.items():
        if not (np.abs(array) <= np.finfo(np.float16).max).all():
            raise InputError(f"{path}: {name} has values that float16 cannot hold")
    config = ConfigDict(config.to_dict())
    if "data" in config:  # converted checkpoints have no settings of training
        config.init = config.data.data_dir = ""
        for setting in config.data.values():
            if isinstance(setting, ConfigDict) and "source" in setting:
                setting.source = ""
    halves = {name: array.astype(np.float16) for name, array in arrays.items()}
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **{CONFIG: json.dumps(config.to_dict())}, **halves)


def is_weights_file(path: str | Path) -> bool:
    """Whether a file is of the form that `export_weights` gives it."""
    try:
        with zipfile.ZipFile(path) as file:
            return f"{CONFIG}.npy" in file.namelist()
    except Exception:  # zipfile can raise anything on a damaged file
        return False


def read_weights_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], ConfigDict]:
    """Reads a weights file; the file need not be trusted.

    Args:
      path: the file.

    Returns:
      ({"params": ..., "batch_stats": ...} in float32, the configuration it was trained with).

    Raises:
      InputError: if it is no weights file.
    """
    try:
        arrays = read_arrays(path)
        config = parse_config(str(arrays.pop(CONFIG)))
        if deep := [name for name in arrays if name.count("/") >= MOST_LEVELS]:
            raise InputError(f"{deep[0][:60]}... has more than {MOST_LEVELS} levels")
        tree = flax.traverse_util.unflatten_dict(
            {name: array.astype(np.float32) for name, array in arrays.items()}, sep="/"
        )
    except InputError as error:
        raise InputError(f"checkpoint: {path} is no weights file ({error})") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:  # no configuration; "a" and "a/b"; a text
        raise InputError(f"checkpoint: {path} is no weights file ({type(error).__name__}: {error})") from None
    return {"params": tree.get("params", {}), "batch_stats": tree.get("batch_stats", {})}, config
