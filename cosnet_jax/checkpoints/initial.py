"""Initial weights of a training: an ImageNet backbone, or what fits of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from cosnet_jax.checkpoints import store, weights_file
from cosnet_jax.checkpoints.arrays import read_arrays
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import expanded
from cosnet_jax.models.parameters import named_leaves, parameter_name, part_of


def load_initial_weights(variables: dict[str, Any], path: str) -> dict[str, Any]:
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
    path = str(expanded(path))
    if Path(path).is_dir() or weights_file.is_weights_file(path):
        return load_parts(variables, path)
    if not Path(path).is_file():
        raise InputError(f"init: {path} does not exist; expected an .npz file of backbone weights, or a checkpoint")
    try:
        arrays = read_arrays(path)
    except InputError as error:
        raise InputError(f"init: {path} is not a readable .npz file ({error})") from None
    arrays = {name: array for name, array in arrays.items() if not name.startswith(("head/", "logits/"))}
    body = variables["params"]["encoder"]["body"]
    wanted = named_leaves(body)
    problems = [f"{name} is text" for name, array in arrays.items() if array.dtype.kind == "U"]
    problems += [f"missing {name}" for name in wanted.keys() - arrays.keys()]
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
      path: a checkpoint, of a training, from `convert`, or a weights file.

    Returns:
      New variables.

    Raises:
      InputError: if there is no checkpoint, or not even its backbone fits.
    """
    stored, config = store.load_checkpoint(path)

    def parts(tree):
        found = {}
        for name, leaf in named_leaves(tree).items():
            found.setdefault(part_of(name), {})[name] = leaf.shape, leaf
        return found

    def shapes(part):
        return {name: shape for name, (shape, _) in part.items()}

    ours, theirs = parts(variables), parts(stored)
    fitting = [name for name in ours if shapes(ours[name]) == shapes(theirs.get(name, {}))]
    if "encoder/body" not in fitting:
        backbone = config.model.get("backbone")
        raise InputError(f"init: {path} has another backbone ({backbone}); expected a checkpoint of the same one")
    if others := sorted(ours.keys() - set(fitting)):
        print(printable(f"init: of {path} these do not fit and keep their initial value: {', '.join(others)}"))
    loaded = {name: leaf for part in fitting for name, (_, leaf) in theirs[part].items()}
    return jax.tree_util.tree_map_with_path(lambda key, leaf: loaded.get(parameter_name(key), leaf), variables)
