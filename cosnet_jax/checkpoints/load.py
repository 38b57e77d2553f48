"""Trained networks by name or path: the shipped model, checkpoints, weights files, initial weights of a training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.checkpoints.store import differences, read_checkpoint
from cosnet_jax.checkpoints.weights import SUFFIX, read_weights, save_weights
from cosnet_jax.config import changed_settings, describe_changes
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import expanded
from cosnet_jax.models.build import ModelConfig, build_model
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.models.parameters import named_leaves, parameter_name, part_of

SHIPPED_MODEL = "davis16_lite"  # the trained model in the package
SHIPPED_FILES = {SHIPPED_MODEL: Path(__file__).parents[1] / "assets" / f"davis16_lite{SUFFIX}"}
WITHOUT_EFFECT = ("affinity_budget", "remat")  # settings of the network: any value gives the same result


def load(name_or_path: str | os.PathLike[str] = SHIPPED_MODEL) -> tuple[COSNet, dict[str, Any], ConfigDict]:
    """Loads a trained network: (model, variables, configuration); arguments and errors as in `load_checkpoint`."""
    variables, config = load_checkpoint(name_or_path)
    return build_model(config.model), variables, config


def save(path: str | Path, model: COSNet, variables: dict[str, Any], config: ConfigDict, half: bool = False) -> None:
    """Writes a trained network as a weights file that `load` reads, see `save_weights`.

    Raises:
      InputError: the model is not that of the configuration, or as `save_weights`.
    """
    if build_model(config.model) != model.clone(axis_name=None, backbone=model.backbone.clone()):
        raise InputError(f"{path}: the model is not that of config.model; expected cosnet.load's, or a matching config")
    save_weights(path, variables, config, half)


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Any], ConfigDict]:
    """Reads what inference needs of a trained network.

    Args:
      path: the name of a model in the package, a weights file (.safetensors), a checkpoint, a folder of checkpoints, or
        the working directory of a training.

    Returns:
      ({"params": ..., "batch_stats": ...}, the configuration it was trained with).

    Raises:
      InputError: if there is no readable checkpoint.
    """
    path = expanded(SHIPPED_FILES.get(str(path), path))
    return read_weights(path) if path.is_file() else read_checkpoint(path)


def load_checkpoint_for(config: ConfigDict, path: str | Path) -> dict[str, Any]:
    """Reads the variables of a checkpoint that is of a configuration's model.

    Args:
      config: the whole configuration.
      path: as in `load_checkpoint`.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      InputError: if there is no readable checkpoint, or it is of another model.
    """
    variables, trained = load_checkpoint(path)
    settings = [ConfigDict(vars(ModelConfig.read(each.model))) for each in (trained, config)]
    changes = changed_settings(*settings)
    changes = {key: change for key, change in changes.items() if key not in WITHOUT_EFFECT}
    if changes:
        raise InputError(
            f"checkpoint: {path} is of another model than the configuration's: "
            f"{describe_changes(changes, len(changes))}; expected the configuration that it was trained with"
        )
    return variables


def load_initial_weights(variables: dict[str, Any], path: str) -> dict[str, Any]:
    """Puts ImageNet weights of the backbone, or what fits of a checkpoint, into freshly initialised variables.

    Args:
      variables: from `init_variables`.
      path: a checkpoint (see `load_checkpoint`), or an .npz of arrays named as the backbone's parameters, e.g.
        "block0/depthwise/kernel"; entries of ImageNet's classifier ("head/...", "logits/...") are left out.

    Returns:
      New variables; all else keeps its initial value.

    Raises:
      InputError: if the file cannot be read, or lacks a backbone parameter, or has another one or another shape.
    """
    file = expanded(path)
    if file.suffix != ".npz":
        return load_parts(variables, path)
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files if not name.startswith(("head/", "logits/"))}
    except Exception as error:  # zipfile, zlib and NumPy's parser can raise anything on a damaged file
        raise InputError(f"init: {path} is not a readable .npz file ({str(error)[:200]})") from None
    body = variables["params"]["encoder"]["body"]
    found, wanted = ({name: array.shape for name, array in tree.items()} for tree in (arrays, named_leaves(body)))
    if problems := differences(found, wanted):
        shown = "; ".join(problems[:5]) + ("; ..." if len(problems) > 5 else "")
        raise InputError(f"init: {path} does not fit the backbone in {len(problems)} places: {shown}")
    loaded = jax.tree_util.tree_map_with_path(
        lambda key, leaf: jnp.asarray(arrays[parameter_name(key)], leaf.dtype), body
    )
    params = {**variables["params"], "encoder": {**variables["params"]["encoder"], "body": loaded}}
    return {**variables, "params": params}


def load_parts(variables: dict[str, Any], path: str) -> dict[str, Any]:
    """Puts the parts of a checkpoint that fit into freshly initialised variables.

    A part is the backbone, the ASPP, the side output, the affinity, the gate or a head; it fits if all its arrays have
    the same names and shapes. Those that do not are named on the terminal and keep their initial value.

    Args:
      variables: from `init_variables`.
      path: as in `load_checkpoint`.

    Returns:
      New variables.

    Raises:
      InputError: if there is no checkpoint, or not even its backbone fits.
    """
    stored, _ = load_checkpoint(path)

    def parts(tree):
        found = {}
        for name, leaf in named_leaves(tree).items():
            found.setdefault(part_of(name), {})[name] = leaf
        return found

    def shapes(part):
        return {name: leaf.shape for name, leaf in part.items()}

    ours, theirs = parts(variables), parts(stored)
    fitting = [name for name in ours if shapes(ours[name]) == shapes(theirs.get(name, {}))]
    if "encoder/body" not in fitting:
        raise InputError(f"init: {path} has another backbone; expected a checkpoint of the same one")
    if others := sorted(ours.keys() - set(fitting)):
        print(printable(f"init: of {path} these do not fit and keep their initial value: {', '.join(others)}"))
    loaded = {name: leaf for part in fitting for name, leaf in theirs[part].items()}
    return jax.tree_util.tree_map_with_path(lambda key, leaf: loaded.get(parameter_name(key), leaf), variables)
