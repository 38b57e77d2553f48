"""Trained networks by name or path: the shipped model, checkpoints, weights files, initial weights of a training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.checkpoints.weights import SUFFIX, read_weights, save_weights
from cosnet_jax.config import changed_settings, describe_changes
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import expanded
from cosnet_jax.models.build import ModelConfig, build_model
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.models.parameters import differing_names, named_leaves, parameter_name, part_of

SHIPPED_MODEL = "davis16_lite"  # the trained model in the package
SHIPPED_FILES = {SHIPPED_MODEL: Path(__file__).parents[1] / "assets" / f"davis16_lite{SUFFIX}"}
BACKBONE = "encoder/body"  # in the names of parameters
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
    if path.is_file():
        return read_weights(path)
    from cosnet_jax.checkpoints.store import read_checkpoint  # imports orbax, which takes a tenth of a start

    return read_checkpoint(path)


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
    changes = changed_settings(*(ConfigDict(vars(ModelConfig.read(each.model))) for each in (trained, config)))
    if changes := {key: change for key, change in changes.items() if key not in WITHOUT_EFFECT}:
        raise InputError(
            f"checkpoint: {path} is of another model than the configuration's: {describe_changes(changes)}; expected "
            "the configuration that it was trained with"
        )
    return variables


def load_initial_weights(variables: dict[str, Any], path: str) -> dict[str, Any]:
    """Puts initial weights into freshly initialised variables.

    Those parts are taken whose arrays all have the same names and shapes; a part is the backbone, the ASPP, the side
    output, the affinity, the gate or a head. The others are named on the terminal.

    Args:
      variables: from `init_variables`.
      path: a checkpoint (see `load_checkpoint`), or an .npz of arrays named as the backbone's parameters, e.g.
        "block0/depthwise/kernel"; entries of ImageNet's classifier ("head/...", "logits/...") are left out.

    Returns:
      New variables; all else keeps its initial value.

    Raises:
      InputError: if the file cannot be read, or is of another backbone.
    """
    found = _read_backbone(path) if expanded(path).suffix == ".npz" else named_leaves(load_checkpoint(path)[0])
    wanted = named_leaves(variables)
    differing = differing_names(found, wanted)
    if problems := [name for name in differing if part_of(name) == BACKBONE]:
        raise InputError(f"init: {path} is of another backbone: {len(problems)} parameters differ, e.g. {problems[0]}")
    parts = {part_of(name) for name in differing}
    if left := sorted(parts & {part_of(name) for name in wanted}):
        print(printable(f"init: of {path} these do not fit and keep their initial value: {', '.join(left)}"))

    def choose(key: tuple, leaf: Any) -> Any:
        name = parameter_name(key)
        return leaf if part_of(name) in parts else jnp.asarray(found[name], leaf.dtype)

    return jax.tree_util.tree_map_with_path(choose, variables)


def _read_backbone(path: str) -> dict[str, np.ndarray]:
    """Reads an .npz of `load_initial_weights`; returns its arrays under their names in a network's variables."""
    try:
        with np.load(expanded(path), allow_pickle=False) as stored:
            names = [name for name in stored.files if not name.startswith(("head/", "logits/"))]
            return {f"params/{BACKBONE}/{name}": stored[name] for name in names}
    except Exception as error:  # zipfile, zlib and NumPy's parser can raise anything on a damaged file
        raise InputError(f"init: {path} is not a readable .npz file ({str(error)[:200]})") from None
