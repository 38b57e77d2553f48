"""What training carries from step to step, and how it begins."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.errors import InputError
from cosnet_jax.models.coattention import VARIANTS
from cosnet_jax.models.cosnet import BACKBONES, COSNet
from cosnet_jax.models.heads import CONVOLUTIONS
from cosnet_jax.models.mobilenet import OUTPUT_STRIDES
from cosnet_jax.models.scaling import SCHEMES
from cosnet_jax.training import checkpoints, packed
from cosnet_jax.training.optimizer import Optimizer, parameter_name

CHOICES = {
    "backbone": BACKBONES,
    "coattention": (*VARIANTS, "none"),
    "head": tuple(CONVOLUTIONS),
    "output_stride": OUTPUT_STRIDES,
    "input_scaling": SCHEMES,
    "dtype": ("float32", "bfloat16"),
}


@flax.struct.dataclass
class TrainState:
    """Everything a step changes: a plain tree of arrays.

    Attributes:
      step: () int32, steps done.
      params: trainable parameters.
      batch_stats: running statistics of batch normalisation.
      opt_state: of the optimiser.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def make_model(config: ConfigDict, axis_name: str | None = None, head_dropout: float = 0.0) -> COSNet:
    """Builds the network of `config.model`; `axis_name` and `head_dropout`, which matter in training, as in `COSNet`.

    Raises:
      InputError: for a key that the network does not have, or a name that is none of its parts.
    """
    for key, known in CHOICES.items():
        if key in config and config[key] not in known:  # checkpoints of older versions lack the newer keys
            raise InputError(f"model.{key} is {config[key]!r}; expected one of {', '.join(map(str, known))}")
    if config.get("output_stride", 8) != 8 and config.backbone != "mobilenet_v2":
        raise InputError(f"model.output_stride is {config.output_stride}; expected 8 with {config.backbone}")
    if config.get("reference_pooling", 1) < 1:
        raise InputError(f"model.reference_pooling is {config.reference_pooling}; expected at least 1")
    settings = dict(config.items())
    settings["dtype"] = jnp.dtype(settings["dtype"])
    settings["aspp_rates"] = tuple(settings["aspp_rates"])
    try:
        return COSNet(axis_name=axis_name, head_dropout=head_dropout, **settings)
    except TypeError as error:
        raise InputError(f"config.model does not fit the network: {error}") from None


def init_variables(model: COSNet, seed: int) -> dict[str, Any]:
    """Initial parameters and statistics, a pure function of the seed.

    Args:
      model: the network.
      seed: of the initialisers.

    Returns:
      {"params": ..., "batch_stats": ...}.
    """
    pair = jax.ShapeDtypeStruct((1, 2, 64, 64, 3), jnp.uint8)  # no parameter's shape depends on the image's size
    # Nothing but the initialisers is run. XLA's own generator compiles several times faster than threefry.
    variables = model.lazy_init(jax.random.key(seed, impl="rbg"), pair)
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def init_state(variables: dict[str, Any], optimizer: Optimizer) -> TrainState:
    """The state before the first step."""
    params = variables["params"]
    return TrainState(jnp.zeros((), jnp.int32), params, variables["batch_stats"], optimizer.init(params))


def load_backbone(variables: dict[str, Any], path: str) -> dict[str, Any]:
    """Puts ImageNet weights of the backbone, or what fits of a checkpoint, into freshly initialised variables.

    Args:
      variables: from `init_variables`.
      path: a checkpoint (see `load_parts`), or an .npz of arrays named as the backbone's parameters, e.g.
        "block0/depthwise/kernel"; entries of ImageNet's classifier ("head/...", "logits/...") are left out.

    Returns:
      New variables; all else keeps its initial value.

    Raises:
      InputError: if the file cannot be read, or lacks a backbone parameter, or has another one or another shape.
    """
    if Path(path).is_dir() or packed.is_packed(path):
        return load_parts(variables, path)
    if not Path(path).is_file():
        raise InputError(f"init: {path} does not exist; expected an .npz file of backbone weights, or a checkpoint")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if not name.startswith(("head/", "logits/"))}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"init: {path} is not a readable .npz file ({error})") from None
    body = variables["params"]["encoder"]["body"]
    wanted = {parameter_name(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(body)}
    problems = [f"missing {name}" for name in wanted.keys() - arrays.keys()]
    problems += [f"unknown {name}" for name in arrays.keys() - wanted.keys()]
    problems += [
        f"{name} is {arrays[name].shape}, expected {wanted[name].shape}"
        for name in wanted.keys() & arrays.keys()
        if arrays[name].shape != wanted[name].shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:5]) + ("; ..." if len(problems) > 5 else "")
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
      path: a checkpoint, of a training, from `convert` or from `pack`.

    Returns:
      New variables.

    Raises:
      InputError: if there is no checkpoint, or not even its backbone fits.
    """
    stored, config = checkpoints.load(path)

    def parts(tree):
        found = {}
        for key, leaf in jax.tree_util.tree_leaves_with_path(tree):
            name = parameter_name(key)
            found.setdefault(re.match(r"\w+/(encoder/\w+|\w+)", name)[1], {})[name] = leaf.shape, leaf
        return found

    def shapes(part):
        return {name: shape for name, (shape, _) in part.items()}

    ours, theirs = parts(variables), parts(stored)
    fitting = [name for name in ours if shapes(ours[name]) == shapes(theirs.get(name, {}))]
    if "encoder/body" not in fitting:
        backbone = config.model.get("backbone")
        raise InputError(f"init: {path} has another backbone ({backbone}); expected a checkpoint of the same one")
    if others := sorted(ours.keys() - set(fitting)):
        print(f"init: of {path} these do not fit and keep their initial value: {', '.join(others)}")
    loaded = {name: leaf for part in fitting for name, (_, leaf) in theirs[part].items()}
    return jax.tree_util.tree_map_with_path(lambda key, leaf: loaded.get(parameter_name(key), leaf), variables)
