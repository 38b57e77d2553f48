"""Compares our network with the PyTorch twin, stage by stage, with any weights of the released architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from cosnet_jax.interop.convert import convert_state_dict
from cosnet_jax.interop.pth import read_state_dict
from cosnet_jax.models.build import build_model
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.models.precision import with_matmul_precision
from cosnet_jax.models.scaling import RELEASED_BGR_MEAN


def smooth_frames(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Returns two smooth random frames (2, height, width, 3) uint8."""
    noise = np.random.default_rng(seed).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC) for image in noise])


def to_twin(frames: np.ndarray) -> np.ndarray:
    """Converts RGB frames (..., h, w, 3), 0 to 255, to the twin's input: (..., 3, h, w) float32, BGR minus the mean."""
    scaled = frames[..., ::-1].astype(np.float32) - np.asarray(RELEASED_BGR_MEAN, np.float32)
    return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))


def our_stages(model: COSNet, variables: Any, pair: np.ndarray) -> dict[str, Any]:
    """Maps a pair (2, h, w, 3), RGB, 0 to 255, to every stage, in the names and layout of `PairModel.stages`.

    Products and convolutions are float32 on every device: TF32, the default of GPUs, would hide any difference.
    """
    logits, aux = jax.jit(with_matmul_precision(model.apply, "float32"))(variables, pair[None])
    stages = {"affinity": aux["affinity"][:, 0]}
    for index, branch in enumerate("ab"):
        stages[f"feature_{branch}"] = jnp.moveaxis(aux["features"][:, index], -1, 1)
        stages[f"summary_{branch}"] = jnp.moveaxis(aux["summary"][:, index], -1, 1)
        stages[f"gate_{branch}"] = aux["gate"][:, index, None]
        stages[f"side_{branch}"] = jax.nn.sigmoid(aux["side_logits"][:, index, None])
        stages[f"y_{branch}"] = jax.nn.sigmoid(logits[:, index, None])
    return stages


def stage_differences(ours: dict[str, Any], theirs: dict[str, np.ndarray]) -> dict[str, float]:
    """Returns the largest difference of each stage of `theirs`, divided by its largest absolute value there."""
    least = np.finfo(np.float32).tiny
    absolute = {name: np.abs(ours[name] - value).max() for name, value in theirs.items()}
    return {name: float(absolute[name] / max(np.abs(value).max(), least)) for name, value in theirs.items()}


def compare_with_torch(weights: str | Path, size: tuple[int, int]) -> dict[str, float]:
    """Runs our network and the twin with weights of the released model on two random frames of a size (height, width).

    Returns:
      Stage, e.g. "feature_a" -> difference, see `stage_differences`.

    Raises:
      InputError: the file cannot be read, does not hold the released model, or torch is not installed.
    """
    from cosnet_jax.interop.twin import load_twin, torch  # torch is optional

    state_dict = read_state_dict(weights)
    variables, config, _ = convert_state_dict(state_dict, "released", str(weights))
    pair = smooth_frames(size)
    twin = load_twin(state_dict)
    with torch.no_grad():
        stages = twin.stages(*torch.from_numpy(to_twin(pair))[:, None])
    theirs = {name: value.numpy() for name, value in stages.items()}
    return stage_differences(our_stages(build_model(config.model), variables, pair), theirs)
