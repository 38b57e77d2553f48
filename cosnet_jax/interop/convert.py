"""Converts PyTorch weights to a checkpoint, and a checkpoint to a `.pth` file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.checkpoints.store import CheckpointFolder, load_checkpoint
from cosnet_jax.config import changed_settings
from cosnet_jax.errors import InputError
from cosnet_jax.files import expanded
from cosnet_jax.interop.names import FORMATS, from_torch, to_torch
from cosnet_jax.interop.presets import PRESETS
from cosnet_jax.interop.pth import read_state_dict, write_pth
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.models.parameters import named_leaves, parameter_name, part_of


class Conversion(NamedTuple):
    """What `convert` wrote.

    Attributes:
      output: folder of the checkpoint.
      config: the configuration in the checkpoint.
      initial_parts: part of the network, e.g. "head_a" or "encoder/aspp" -> number of its arrays that the weights do
        not have and that keep their initial values. Empty if the weights fill the whole network.
    """

    output: Path
    config: ConfigDict
    initial_parts: dict[str, int]


def adapt(state_dict: dict[str, np.ndarray], format_name: str) -> dict[str, np.ndarray]:
    """Brings a state dict to the modules of the format's table.

    The names in encoder checkpoints ("deeplab") start with one component of any name, or with none. The segmentation
    models of torchvision keep their ResNet under `backbone.`; their other arrays are classifiers.
    """
    if format_name == "deeplab":
        firsts = {name.partition(".")[0] for name in state_dict}
        return {name.partition(".")[2]: array for name, array in state_dict.items()} if len(firsts) == 1 else state_dict
    if format_name == "torchvision":
        return {name.removeprefix("backbone."): array for name, array in state_dict.items()}
    return state_dict


def match(
    state_dict: dict[str, np.ndarray], preset: str, source: str
) -> tuple[COSNet, ConfigDict, Any, dict[str, Any]]:
    """Returns a preset's network, configuration and shapes of variables, and the state dict's arrays by our names."""
    format_name, config = PRESETS[preset].format, PRESETS[preset].to_config()
    state_dict = adapt(state_dict, format_name)
    if format_name == "torchvision" and "layer3.6.conv1.weight" not in state_dict:
        config.model.backbone = "resnet50"
    model = build_model(config.model)
    shapes = jax.eval_shape(lambda: init_variables(model, config.seed))
    return model, config, shapes, from_torch(state_dict, shapes, FORMATS[format_name], source)


def matches_preset(state_dict: dict[str, np.ndarray], preset: str) -> bool:
    """Returns whether a state dict has all names and shapes of a preset, and no others."""
    try:
        match(state_dict, preset, "")
    except InputError:
        return False
    return True


def convert_state_dict(
    state_dict: dict[str, np.ndarray], preset: str, source: str
) -> tuple[Any, ConfigDict, list[str]]:
    """Makes variables of our network from a PyTorch state dict.

    Args:
      state_dict: name -> array.
      preset: one of `PRESETS`.
      source: name of the state dict in error messages.

    Returns:
      ({"params": ..., "batch_stats": ...}, configuration of the network, names of the arrays that have their initial
      values because the state dict does not have them).

    Raises:
      InputError: the state dict does not fit the preset in every name and shape.
    """
    model, config, shapes, arrays = match(state_dict, preset, source)
    initial = [name for name in named_leaves(shapes) if name not in arrays]
    if initial:

        @jax.jit  # compiles and runs only the initialisers whose results are returned
        def initialise():
            leaves = named_leaves(init_variables(model, config.seed))
            return {name: leaves[name] for name in initial}

        arrays |= initialise()
    return jax.tree_util.tree_map_with_path(lambda path, _: arrays[parameter_name(path)], shapes), config, initial


def convert(weights: str | Path, output: str | Path, preset: str) -> Conversion:
    """Writes a `.pth` file's weights as a checkpoint, for `Segmenter`, `evaluate.py` and `config.init`.

    Args:
      weights: the `.pth` file; it need not be trusted.
      output: folder for the checkpoint; it must be new or empty.
      preset: one of `PRESETS`.

    Returns:
      What was written.

    Raises:
      InputError: the file cannot be read or does not fit the preset, or the folder is not empty or cannot be written.
    """
    output = expanded(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists; expected a new or empty folder for the checkpoint")
    state_dict = read_state_dict(weights)
    try:
        variables, config, initial = convert_state_dict(state_dict, preset, f"{weights} (--preset {preset})")
    except InputError:
        for other in PRESETS:
            if other != preset and matches_preset(state_dict, other):
                raise InputError(f"{weights} does not fit --preset {preset}; it fits --preset {other}") from None
        raise
    try:
        folder = CheckpointFolder(output, keep=1)
        folder.save(0, variables, config, {})
        folder.close()
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error.strerror})") from None
    parts = Counter(map(part_of, initial))
    return Conversion(output, config, dict(sorted(parts.items())))


def export(checkpoint: str | Path, output: str | Path) -> None:
    """Writes a checkpoint of the released architecture as a `.pth` file that the authors' code loads.

    Args:
      checkpoint: see `load_checkpoint`.
      output: the file. It holds {"epoch": 0, "model": state dict}.

    Raises:
      InputError: there is no checkpoint, or its architecture is not the released one, or the file cannot be written.
    """
    variables, config = load_checkpoint(checkpoint)
    changed = changed_settings(PRESETS["released"].to_config().model, config.model)
    changed.pop("dtype", None)  # the variables are float32 whatever the computation uses
    if changed:
        shown = "; ".join(f"model.{key} is {found!r}, expected {wanted!r}" for key, (wanted, found) in changed.items())
        raise InputError(f"{checkpoint}: only the released architecture can be exported to .pth ({shown})")
    write_pth(output, {"epoch": 0, "model": to_torch(variables, FORMATS["released"])})
