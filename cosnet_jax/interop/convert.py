"""PyTorch's weights into a checkpoint, and a checkpoint into a `.pth` file."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

import cosnet_jax
from cosnet_jax.checkpoints import store as checkpoints
from cosnet_jax.config import differences
from cosnet_jax.errors import InputError
from cosnet_jax.interop.names import FORMATS, from_torch, to_torch
from cosnet_jax.interop.pth import read_state_dict, write_pth
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.models.parameters import named_leaves, parameter_name


class Preset(NamedTuple):
    """What a kind of PyTorch weights becomes.

    Attributes:
      form: name of its table, see `FORMATS`.
      config: the file of `configs/` with its architecture, input scaling and way of fusing.
      settings: what differs from that file, by dotted key.
    """

    form: str
    config: str
    settings: dict[str, Any] = {}  # noqa: RUF012 (never changed)


PRESETS = {
    "released": Preset("released", "davis16_released"),
    "group": Preset("released", "davis16_released", {"inference.fusion": "group"}),
    "deeplab": Preset("deeplab", "davis16_released"),
    "torchvision": Preset("torchvision", "davis16"),
}


def load_config(name: str) -> ConfigDict:
    """The configuration of a file in `configs/`, which lies beside the package."""
    root = str(Path(cosnet_jax.__file__).parents[1])
    if root not in sys.path:
        sys.path.append(root)
    try:
        return importlib.import_module(f"configs.{name}").get_config()
    except ImportError:
        raise InputError(f"configs/{name}.py is not in {root}; expected a checkout of the repository there") from None


def arrange(state_dict: dict[str, np.ndarray], form: str) -> dict[str, np.ndarray]:
    """Brings a state dict's names to those of the format's table.

    Encoder checkpoints ("deeplab") have a first component of any name, or none; torchvision's segmentation models keep
    their ResNet under `backbone.`, and everything else of them is ImageNet's or Pascal's classifier.
    """
    if form == "deeplab":
        firsts = {name.partition(".")[0] for name in state_dict}
        return {name.partition(".")[2]: array for name, array in state_dict.items()} if len(firsts) == 1 else state_dict
    if form == "torchvision":
        return {name.removeprefix("backbone."): array for name, array in state_dict.items()}
    return state_dict


def match(
    state_dict: dict[str, np.ndarray], preset: str, source: str
) -> tuple[COSNet, ConfigDict, Any, dict[str, Any]]:
    """The network of a preset, its configuration, its variables' shapes, and a state dict's arrays by our names."""
    form, config_name, settings = PRESETS[preset]
    config = load_config(config_name)
    config.update_from_flattened_dict(settings)
    state_dict = arrange(state_dict, form)
    if form == "torchvision" and "layer3.6.conv1.weight" not in state_dict:
        config.model.backbone = "resnet50"
    model = build_model(config.model)
    shapes = jax.eval_shape(lambda: init_variables(model, config.seed))
    return model, config, shapes, from_torch(state_dict, shapes, FORMATS[form], source)


def matches_preset(state_dict: dict[str, np.ndarray], preset: str) -> bool:
    """Whether a state dict has all names and shapes of a preset, and no others."""
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
      source: names the state dict in errors.

    Returns:
      ({"params": ..., "batch_stats": ...}, the configuration they belong to, names that kept their initial value).

    Raises:
      InputError: if the state dict does not fit the preset in every name and shape.
    """
    model, config, shapes, arrays = match(state_dict, preset, source)
    initial = [name for name in named_leaves(shapes) if name not in arrays]
    if initial:

        @jax.jit  # runs, and compiles, these initialisers alone
        def initialise():
            leaves = named_leaves(init_variables(model, config.seed))
            return {name: leaves[name] for name in initial}

        arrays |= initialise()
    return jax.tree_util.tree_map_with_path(lambda path, _: arrays[parameter_name(path)], shapes), config, initial


def convert(weights: str | Path, output: str | Path, preset: str) -> list[str]:
    """Writes a checkpoint of a `.pth` file's weights, for `Segmenter.from_checkpoint`, `evaluate.py` and `config.init`.

    Args:
      weights: the `.pth` file; it is not trusted.
      output: folder of the checkpoint, without one so far.
      preset: one of `PRESETS`.

    Returns:
      What there is to tell, in lines.

    Raises:
      InputError: if the file cannot be read or does not fit the preset, or there is a checkpoint already.
    """
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists; expected a new or empty folder for the checkpoint")
    state_dict = read_state_dict(weights)
    try:
        variables, config, initial = convert_state_dict(state_dict, preset, f"{weights} (--preset {preset})")
    except InputError:
        for other in PRESETS:
            if matches_preset(state_dict, other):
                raise InputError(f"{weights} does not fit --preset {preset}; it fits --preset {other}") from None
        raise
    try:
        folder = checkpoints.Checkpoints(output, keep=1)
        folder.save(0, variables, config, {})
        folder.close()
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error.strerror})") from None
    lines = [f"{output}: {config.model.backbone}, configuration {config.name}, fusion {config.inference.fusion}"]
    if initial:
        parts = sorted({re.match(r"\w+/(encoder/\w+|\w+)", name)[1] for name in initial})
        lines.append(f"left at the initial value: {', '.join(parts)} ({len(initial)} arrays)")
    return lines


def export(checkpoint: str | Path, output: str | Path) -> None:
    """Writes a checkpoint of the released architecture as a `.pth` file that the authors' code loads.

    Args:
      checkpoint: see `checkpoints.find`.
      output: the file; its content is {"epoch": 0, "model": state dict}.

    Raises:
      InputError: if there is no checkpoint, or it is of another architecture.
    """
    variables, config = checkpoints.load(checkpoint)
    changed = differences(load_config("davis16_released").model, config.model)
    changed = [line for line in changed if not line.startswith("dtype ")]
    if changed:
        raise InputError(f"{checkpoint}: only the released architecture has a .pth form ({'; '.join(changed)})")
    write_pth(output, {"epoch": 0, "model": to_torch(variables, FORMATS["released"])})
