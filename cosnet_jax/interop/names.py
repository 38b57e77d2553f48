"""Names of parameters in PyTorch's state dicts and in our tree. Each format has a table.

A row of a table is (pattern of our module, module in the state dict). The first row whose pattern matches the whole
name of our module counts. All formats have the same names and layouts of the arrays in a module (`ARRAYS`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.models.parameters import named_leaves

RESNET = (
    (r"encoder/body/conv1", r"conv1"),
    (r"encoder/body/bn1", r"bn1"),
    (r"encoder/body/layer(\d)_(\d+)/conv(\d)", r"layer\1.\2.conv\3"),
    (r"encoder/body/layer(\d)_(\d+)/bn(\d)", r"layer\1.\2.bn\3"),
    (r"encoder/body/layer(\d)_(\d+)/downsample_conv", r"layer\1.\2.downsample.0"),
    (r"encoder/body/layer(\d)_(\d+)/downsample_bn", r"layer\1.\2.downsample.1"),
)
ENCODER = (
    *RESNET,
    (r"encoder/aspp/pool_conv", r"layer5.conv"),
    (r"encoder/aspp/pool_bn", r"layer5.bn_x"),
    (r"encoder/aspp/point_conv", r"layer5.conv2d_0"),
    (r"encoder/aspp/point_bn", r"layer5.bn_0"),
    (r"encoder/aspp/rate6_conv", r"layer5.conv2d_1"),
    (r"encoder/aspp/rate6_bn", r"layer5.bn_1"),
    (r"encoder/aspp/rate12_conv", r"layer5.conv2d_2"),
    (r"encoder/aspp/rate12_bn", r"layer5.bn_2"),
    (r"encoder/aspp/rate18_conv", r"layer5.conv2d_3"),
    (r"encoder/aspp/rate18_bn", r"layer5.bn_3"),
    (r"encoder/aspp/join_conv", r"layer5.bottleneck"),
    (r"encoder/aspp/join_bn", r"layer5.bn"),
    (r"encoder/aspp/prelu", r"layer5.prelu"),
    (r"encoder/side", r"main_classifier"),
)
RELEASED = (
    *((ours, f"encoder.{theirs}") for ours, theirs in ENCODER),
    (r"affinity", r"linear_e"),
    (r"gate/conv", r"gate"),
    (r"head_a/conv1", r"conv1"),
    (r"head_a/bn1", r"bn1"),
    (r"head_a/classifier", r"main_classifier1"),
    (r"head_b/conv1", r"conv2"),
    (r"head_b/bn1", r"bn2"),
    (r"head_b/classifier", r"main_classifier2"),
)
# Name of our array -> name in the state dict.
ARRAYS = {
    "kernel": "weight",  # ours is (k, k, c_in, c_out), PyTorch's (c_out, c_in, k, k)
    "weight": "weight",  # W of the affinity `s[j, i] = v_b[j] . W v_a[i]`: the released `linear_e`, not transposed
    "scale": "weight",
    "slope": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
VARIANCE = "running_var"
COUNTER = "num_batches_tracked"  # every batch normalisation has one since PyTorch 0.4.1; it changes no result
SHOWN = 3  # names of each kind in an error


class Format(NamedTuple):
    """A kind of state dict."""

    rows: tuple[tuple[str, str], ...]  # the table of modules
    left_out: str = "(?!)"  # pattern of the names of arrays that our network does not have


FORMATS = {
    "released": Format(RELEASED),
    "deeplab": Format(ENCODER),
    "torchvision": Format(RESNET, left_out=r"(fc|classifier|aux_classifier)\..*"),
}


def counterparts(variables: Any, rows: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Maps the names in a state dict to ours, e.g. "linear_e.weight" -> "params/affinity/weight".

    Those of our names in `variables` (arrays or shapes) that no row matches are left out.
    """
    names = {}
    for ours in named_leaves(variables):
        _, module, array = re.fullmatch(r"(\w+)/(.+)/(\w+)", ours).groups()
        matches = ((re.fullmatch(pattern, module), theirs) for pattern, theirs in rows)
        if found := next(((match, theirs) for match, theirs in matches if match), None):
            names[f"{found[0].expand(found[1])}.{ARRAYS[array]}"] = ours
    return names


def from_torch(
    state_dict: Mapping[str, np.ndarray], variables: Any, form: Format, source: str
) -> dict[str, np.ndarray]:
    """Renames the arrays of a state dict and changes them to our layout.

    Args:
      state_dict: name -> array, floats of any width.
      variables: {"params": ..., "batch_stats": ...} of arrays or shapes of our network.
      form: format of the state dict.
      source: name of the state dict in error messages.

    Returns:
      Our name -> float32 array, for all of our names that the format has.

    Raises:
      InputError: names are missing or unknown, or arrays have another shape or no floats. It counts them and names the
        first few.
    """
    expected, ours = counterparts(variables, form.rows), named_leaves(variables)
    counters = {name.removesuffix(VARIANCE) + COUNTER for name in expected if name.endswith(VARIANCE)}
    given = [name for name in state_dict if name not in counters and not re.fullmatch(form.left_out, name)]
    problems = {
        "missing": [name for name in expected if name not in state_dict],
        "unknown": [name for name in given if name not in expected],
        "of another kind": [],
    }
    converted = {}
    for name in filter(expected.__contains__, given):
        array, target = state_dict[name], expected[name]
        shape, is_kernel = tuple(ours[target].shape), target.endswith("/kernel")
        wanted = (shape[3], shape[2], *shape[:2]) if is_kernel else shape
        if array.shape != wanted or not jnp.issubdtype(array.dtype, jnp.floating):
            problems["of another kind"].append(f"{name} ({array.dtype} {array.shape}, expected floats {wanted})")
        else:
            converted[target] = np.ascontiguousarray(array.transpose(2, 3, 1, 0) if is_kernel else array, np.float32)
    found = {kind: names for kind, names in problems.items() if names}
    if found:
        more = {kind: ", ..." if len(names) > SHOWN else "" for kind, names in found.items()}
        told = [f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{more[kind]}" for kind, names in found.items()]
        raise InputError(f"{source} does not fit: {'; '.join(told)}")
    return converted


def to_torch(variables: Any, form: Format) -> dict[str, np.ndarray]:
    """Makes a state dict of float32 arrays from our tree, the inverse of `from_torch` if the format has all our names.

    Every batch normalisation gets a `num_batches_tracked` of 0.
    """
    leaves, state_dict = named_leaves(variables), {}
    for name, ours in counterparts(variables, form.rows).items():
        array = np.asarray(leaves[ours], np.float32)
        state_dict[name] = (array.transpose(3, 2, 0, 1) if ours.endswith("/kernel") else array).copy()
        if name.endswith(VARIANCE):
            state_dict[name.removesuffix(VARIANCE) + COUNTER] = np.array(0, np.int64)
    return state_dict
