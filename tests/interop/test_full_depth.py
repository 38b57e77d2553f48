"""Our whole ResNet-101 network against the PyTorch twin, and against a worked case of the released model."""

from __future__ import annotations

import numpy as np
import pytest

from cosnet_jax import Segmenter
from cosnet_jax.interop.convert import convert, convert_state_dict
from cosnet_jax.interop.parity import compare_with_torch, our_stages, to_twin
from cosnet_jax.models.build import build_model
from cosnet_jax.models.scaling import RELEASED_BGR_MEAN

torch = pytest.importorskip("torch", reason="compares with PyTorch")
pytestmark = pytest.mark.torch


def test_the_worked_case(reference, case):
    variables, config, _ = convert_state_dict(case.weights(), "released", "worked case")
    images = case.images((97, 97), 3, 3)[:2]
    rgb = (np.moveaxis(images, 1, -1) + np.asarray(RELEASED_BGR_MEAN, np.float32))[..., ::-1]
    stages = our_stages(build_model(config.model), variables, rgb)
    expected = np.load(reference / "case_97x97.npz")
    for name, key in {"y_a": "ya", "y_b": "yb", "side_b": "side", "feature_a": "fa"}.items():
        np.testing.assert_allclose(stages[name], expected[key], rtol=0, atol=2e-5, err_msg=name)


def test_the_worked_case_through_files(case, twin_module, tmp_path):
    """`.pth` -> convert -> checkpoint -> Segmenter, with the images rounded to uint8."""
    weights = case.weights()
    tensors = {f"module.{name}": torch.from_numpy(value) for name, value in weights.items()}
    torch.save({"epoch": 60, "model": tensors}, tmp_path / "released.pth")
    convert(tmp_path / "released.pth", tmp_path / "checkpoint", "released")
    segmenter = Segmenter.from_pretrained(tmp_path / "checkpoint", size=(97, 97))
    bgr = np.moveaxis(case.images((97, 97), 3, 3), 1, -1) + np.asarray(RELEASED_BGR_MEAN, np.float32)
    frames = bgr[..., ::-1].round().clip(0, 255).astype(np.uint8)
    maps = segmenter(frames, references=[1])
    images = torch.from_numpy(to_twin(frames))[:, None]
    twin = twin_module.load_twin(weights)
    for frame in (0, 2):
        with torch.no_grad():
            expected = twin(images[frame], images[1])[0][0, 0].numpy()
        np.testing.assert_allclose(maps[frame], expected, rtol=0, atol=2e-5)
    assert np.abs(maps[0] - maps[2]).max() > 0.01


def test_the_comparison_of_a_file(case, tmp_path):
    torch.save({"model": {name: torch.from_numpy(value) for name, value in case.weights().items()}}, tmp_path / "x.pth")
    rows = compare_with_torch(tmp_path / "x.pth", (65, 80))
    assert len(rows) == 11
    assert max(rows.values()) < 1e-4
