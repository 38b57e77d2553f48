"""Converts PyTorch weights to a checkpoint, and variables of the released architecture to a `.pth` file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.checkpoints.store import CheckpointFolder
from cosnet_jax.config import changed_settings
from cosnet_jax.errors import InputError
from cosnet_jax.files import atomic_write, expanded, report_write_errors
from cosnet_jax.interop.names import FORMATS, from_torch, to_torch
from cosnet_jax.interop.presets import PRESETS
from cosnet_jax.interop.pth import read_state_dict
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.models.parameters import named_leaves, parameter_name, part_of


def bare_names(state_dict: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Removes a first component that all names share, as of an encoder, and the `backbone.` of torchvision's models."""
    first = next(iter(state_dict)).partition(".")[0] + "."
    if all(name.startswith(first) for name in state_dict):
        state_dict = {name.removeprefix(first): array for name, array in state_dict.items()}
    return {name.removeprefix("backbone."): array for name, array in state_dict.items()}


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
    config, state_dict = PRESETS[preset].to_config(), bare_names(state_dict)
    if preset == "torchvision" and "layer3.6.conv1.weight" not in state_dict:
        config.model.backbone = "resnet50"
    model = build_model(config.model)
    shapes = jax.eval_shape(lambda: init_variables(model, config.seed))
    arrays = from_torch(state_dict, shapes, FORMATS[PRESETS[preset].format], source)
    initial = [name for name in named_leaves(shapes) if name not in arrays]
    if initial:

        @jax.jit  # compiles and runs only the initialisers whose results are returned
        def initialise():
            leaves = named_leaves(init_variables(model, config.seed))
            return {name: leaves[name] for name in initial}

        arrays |= initialise()
    return jax.tree_util.tree_map_with_path(lambda path, _: arrays[parameter_name(path)], shapes), config, initial


def convert(weights: str | Path, output: str | Path, preset: str) -> tuple[ConfigDict, dict[str, int]]:
    """Writes PyTorch weights (`.pth` or `.safetensors`) as a checkpoint in a new folder, for one of `PRESETS`.

    Returns:
      (configuration in the checkpoint, part of the network -> number of its arrays that the weights lack).

    Raises:
      InputError: the file cannot be read or does not fit the preset, or the folder is not empty or cannot be written.
    """
    output = expanded(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists; expected a new or empty folder for the checkpoint")
    source = f"{weights} (--preset {preset})"
    variables, config, initial = convert_state_dict(read_state_dict(weights), preset, source)
    with report_write_errors(output):
        folder = CheckpointFolder(output, keep=1)
        folder.save(0, variables, config, {})
        folder.close()
    return config, dict(sorted(Counter(map(part_of, initial)).items()))


def export_pth(output: str | Path, variables: Any, config: ConfigDict) -> None:
    """Writes variables of the released architecture as a `.pth` file that the authors' code loads; needs torch.

    Args:
      output: the file. It holds {"epoch": 0, "model": state dict}.
      variables: {"params": ..., "batch_stats": ...}.
      config: the whole configuration.

    Raises:
      InputError: the architecture is not the released one, torch is missing, or the file cannot be written.
    """
    changed = changed_settings(PRESETS["released"].to_config().model, config.model)
    changed.pop("dtype", None)  # the variables are float32 whatever the computation uses
    if changed:
        shown = "; ".join(f"model.{key} is {found!r}, expected {wanted!r}" for key, (wanted, found) in changed.items())
        raise InputError(f"only the released architecture can be written as .pth ({shown}); expected .safetensors")
    try:
        import torch
    except ImportError:
        raise InputError("writing .pth needs torch: pip install 'cosnet_jax[torch]'") from None
    tensors = {name: torch.from_numpy(array) for name, array in to_torch(variables, FORMATS["released"]).items()}
    path = expanded(output)
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        torch.save({"epoch": 0, "model": tensors}, file)
