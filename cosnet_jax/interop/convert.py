"""Converts PyTorch weights to a checkpoint, and variables of the released architecture to a `.pth` file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.checkpoints.store import CheckpointFolder
from cosnet_jax.config import changed_settings
from cosnet_jax.errors import InputError
from cosnet_jax.files import expanded, report_write_errors
from cosnet_jax.interop.names import FORMATS, from_torch, to_torch
from cosnet_jax.interop.presets import PRESETS
from cosnet_jax.interop.pth import read_state_dict, write_pth
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.models.parameters import named_leaves, parameter_name, part_of


class Conversion(NamedTuple):
    """What `convert` wrote."""

    output: Path  # folder of the checkpoint
    config: ConfigDict  # the configuration in it
    initial_parts: dict[str, int]  # part of the network, e.g. "head_a" -> number of its arrays that the weights lack


def bare_names(state_dict: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Removes a first component that all names share, as of an encoder, and the `backbone.` of torchvision's models."""
    first = next(iter(state_dict)).partition(".")[0] + "."
    if all(name.startswith(first) for name in state_dict):
        state_dict = {name.removeprefix(first): array for name, array in state_dict.items()}
    return {name.removeprefix("backbone."): array for name, array in state_dict.items()}


def match(
    state_dict: dict[str, np.ndarray], preset: str, source: str
) -> tuple[COSNet, ConfigDict, Any, dict[str, Any]]:
    """Returns a preset's network, configuration and shapes of variables, and the state dict's arrays by our names."""
    form, config = FORMATS[PRESETS[preset].format], PRESETS[preset].to_config()
    state_dict = bare_names(state_dict)
    if preset == "torchvision" and "layer3.6.conv1.weight" not in state_dict:
        config.model.backbone = "resnet50"
    model = build_model(config.model)
    shapes = jax.eval_shape(lambda: init_variables(model, config.seed))
    return model, config, shapes, from_torch(state_dict, shapes, form, source)


def convert_state_dict(
    state_dict: dict[str, np.ndarray], preset: str, source: str
) -> tuple[Any, ConfigDict, list[str]]:
    """Makes variables of our network from a PyTorch state dict; arrays that it does not have get their initial values.

    Args:
      state_dict: name -> array.
      preset: one of `PRESETS`.
      source: name of the state dict in error messages.

    Returns:
      ({"params": ..., "batch_stats": ...}, configuration of the network, names of the arrays with initial values).

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
    """Writes PyTorch weights (`.pth` or `.safetensors`) as a checkpoint in a new folder, for one of `PRESETS`.

    Raises:
      InputError: the file cannot be read or does not fit the preset, or the folder is not empty or cannot be written.
    """
    output = expanded(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists; expected a new or empty folder for the checkpoint")
    state_dict = read_state_dict(weights)
    try:
        variables, config, initial = convert_state_dict(state_dict, preset, f"{weights} (--preset {preset})")
    except InputError as error:
        raise InputError(f"{error}{_other_preset(state_dict, preset)}") from None
    with report_write_errors(output):
        folder = CheckpointFolder(output, keep=1)
        folder.save(0, variables, config, {})
        folder.close()
    return Conversion(output, config, dict(sorted(Counter(map(part_of, initial)).items())))


def _other_preset(state_dict: dict[str, np.ndarray], preset: str) -> str:
    """Returns a hint at the preset that a state dict fits, or ""."""
    for other in PRESETS:
        try:
            if PRESETS[other].format != PRESETS[preset].format:
                match(state_dict, other, "")
                return f"; it fits --preset {other}"
        except InputError:
            pass
    return ""


def export_pth(output: str | Path, variables: Any, config: ConfigDict, half: bool = False) -> None:
    """Writes variables of the released architecture as a `.pth` file that the authors' code loads.

    Args:
      output: the file. It holds {"epoch": 0, "model": state dict}.
      variables: {"params": ..., "batch_stats": ...}.
      config: the whole configuration.
      half: write float16.

    Raises:
      InputError: the architecture is not the released one, or the file cannot be written.
    """
    changed = changed_settings(PRESETS["released"].to_config().model, config.model)
    changed.pop("dtype", None)  # the variables are float32 whatever the computation uses
    if changed:
        shown = "; ".join(f"model.{key} is {found!r}, expected {wanted!r}" for key, (wanted, found) in changed.items())
        raise InputError(f"only the released architecture can be written as .pth ({shown}); expected .safetensors")
    arrays = to_torch(variables, FORMATS["released"])
    if half:
        arrays = {
            name: array.astype(np.float16) if array.dtype == np.float32 else array for name, array in arrays.items()
        }
    write_pth(output, {"epoch": 0, "model": arrays})
