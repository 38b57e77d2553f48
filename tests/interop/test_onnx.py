"""The ONNX graphs in ONNX Runtime against the segmenter, and the example of the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_network import make_tiny, random_variables

from configs import davis16, davis16_released, synthetic
from cosnet_jax import Segmenter, cli
from cosnet_jax.checkpoints.load import load_checkpoint
from cosnet_jax.errors import InputError
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.interop.parity import smooth_frames
from cosnet_jax.models import resnet
from cosnet_jax.models.build import build_model

pytest.importorskip("onnx", reason="onnx writes the graphs")
runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime runs the graphs")
from cosnet_jax.interop.onnx import to_onnx  # noqa: E402

DOCUMENT = Path(__file__).parents[2] / "docs/onnx.md"


def segment(variables, config, frames):
    """The probability of the first frame, compared with the others."""
    encode, decode = (
        runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        for model in to_onnx(variables, config).values()
    )
    features, keys, values = encode.run(["features", "keys", "values"], {"image": frames})
    inputs = {"features": features[:1], "keys": keys[1:], "values": values[1:]}
    return decode.run(["probability"], inputs)[0][0]


def check(config, variables=None, frames=None):
    size = tuple(config.inference.size or config.size)
    model = build_model(config.model)
    variables = random_variables(model) if variables is None else variables
    frames = np.concatenate([smooth_frames(size, seed) for seed in range(2)])[:3] if frames is None else frames
    options = InferenceConfig(fusion=config.inference.fusion, edge_radius=0)
    expected = next(Segmenter(model, variables, options, size=size).predict(frames, references=[1, 2])).probabilities[0]
    np.testing.assert_allclose(segment(variables, config, frames), expected, rtol=0, atol=1e-4)
    assert expected.std() > 1e-3  # a constant would agree as well


STRIDE_16 = {"output_stride": 16, "blocks": 15, "low_level": 6}


@pytest.mark.parametrize(
    ("size", "settings", "fusion"),
    [
        ((41, 56), {"coattention": "vanilla", "head": "released", "gate_bias": False}, "prediction"),
        ((48, 65), {"coattention": "symmetric", **STRIDE_16}, "group"),
        ((33, 49), {"coattention": "channelwise", "aspp_kernel": 3, "prelu": True}, "group_released"),
        ((50, 71), {"coattention": "channelwise", "detail": 8, "separable": True, **STRIDE_16}, "summary"),
    ],
)
def test_small_networks_of_every_kind(size, settings, fusion):
    config = make_tiny(synthetic.get_config())
    config.size, config.inference.size, config.inference.fusion = size, None, fusion
    config.model.update({"reference_pooling": 2, **settings})
    check(config)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("configuration", "backbone", "settings"),
    [(davis16, "resnet50", {}), (davis16_released, "resnet101", {"channels": 64, "aspp_depth": 32})],
)
def test_resnets(monkeypatch, configuration, backbone, settings):
    monkeypatch.setitem(resnet.DEPTHS, "resnet101", (1, 2, 2, 2))
    config = configuration.get_config()
    config.model.update({"backbone": backbone, **settings})
    config.size, config.inference.size = (65, 80), None
    check(config)


@pytest.mark.slow
def test_the_shipped_model(frames):
    variables, config = load_checkpoint("davis16_lite")
    size = tuple(config.inference.size)
    frames = np.stack([cv2.resize(frame, size[::-1], interpolation=cv2.INTER_CUBIC) for frame in frames[::2]])
    check(config, variables, frames)


def test_networks_without_coattention_are_refused():
    config = synthetic.get_config()
    config.model.coattention = "none"
    with pytest.raises(InputError, match="expected one of the co-attentions"):
        to_onnx({"params": {}}, config)


def test_the_documented_example(checkpoint, frames, tmp_path):
    cli.main(["export", str(checkpoint), "--output", str(tmp_path / "model.onnx")])
    np.save(tmp_path / "clip.npy", frames)
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S)
    assert program.count("\n") <= 30
    arguments = ["-c", program, tmp_path / "model", tmp_path / "clip.npy", tmp_path / "maps.npy"]
    subprocess.run([sys.executable, *map(str, arguments)], check=True)
    maps = np.load(tmp_path / "maps.npy")
    segmenter = Segmenter.from_pretrained(checkpoint)
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for old, new in zip(frames.shape[1:3], segmenter.config.size, strict=True)
    )
    small = frames[:, rows][:, :, columns]
    references = set(segmenter.references(len(small))[0])
    for number in sorted({*range(len(small))} - references)[:2]:
        (result,) = segmenter.predict(
            small, [InferenceConfig(edge_radius=0)], queries=[number], references=sorted(references)
        )
        np.testing.assert_allclose(maps[number], result.probabilities[0], rtol=0, atol=1e-4)
        assert maps[number].std() > 1e-4
