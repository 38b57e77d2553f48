"""What `explain` shows against what the network computes, and what it says when something is wrong."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from PIL import Image

from cosnet_jax import cli
from cosnet_jax.checkpoints.load import load_checkpoint
from cosnet_jax.commands.explain import explain
from cosnet_jax.errors import InputError
from cosnet_jax.inference.attention_maps import attention_maps
from cosnet_jax.inference.resize import resize_frame
from cosnet_jax.inference.segmenter import Segmenter


@pytest.mark.parametrize("pooling", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("pixel", "cell"), [((0, 0), (0, 0)), ((47, 63), (3, 4)), ((20, 30), (1, 2))])
def test_attention_and_gates_make_up_the_summary_of_the_pixels_cell(checkpoint, frames, pixel, cell, pooling):
    variables, config = load_checkpoint(checkpoint)
    config.model.reference_pooling = pooling
    segmenter, clip = Segmenter.from_config(config, variables), frames[[2, 0, 5]]
    attention, gates = attention_maps(segmenter, clip, pixel)
    assert gates.shape == (2, 4, 5)
    assert attention.shape == {1: (2, 4, 5), 2: (2, 2, 3)}[pooling]
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1, atol=1e-5)
    apply = jax.jit(segmenter.model.apply, static_argnames="method")
    features = apply(variables, jax.numpy.stack([resize_frame(frame, (32, 40)) for frame in clip]), method="encode")
    keys, values = (apply(variables, features[1:], method=part) for part in ("keys", "values"))
    summary = apply(variables, features[:1], keys[None], values[None], method="attend")[0][0]
    parts = [
        gate[cell] * weights.ravel() @ value for gate, weights, value in zip(gates, attention, values, strict=True)
    ]
    assert np.abs(summary).max() > 1e-3
    np.testing.assert_allclose(np.mean(parts, axis=0), summary[cell], atol=1e-5 * float(np.abs(summary).max()))


def test_a_picture_is_written(checkpoint, folder, tmp_path, capsys):
    output = tmp_path / "new" / "why.png"
    arguments = ["--output", str(output), "--checkpoint", str(checkpoint)]
    assert cli.main(["explain", str(folder), "--frame", "5", *arguments, "--pixel", "10", "20"]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    with Image.open(output) as picture:
        columns, rows = np.asarray(picture.convert("L")), 3
    assert columns.shape[1] == int(6 * 3.2 * 80)  # the frame and five references
    assert all(part.std() > 10 for part in np.array_split(columns, rows))  # no row is empty
    explain(folder / "frame8.png", 0, output, checkpoint=checkpoint)  # a video of one frame


def test_smoothing_along_the_video_does_not_mix_a_frame_with_its_references(checkpoint, folder, tmp_path):
    for name, smoothing in (("plain.png", 0.0), ("smooth.png", 2.0)):
        settings = {"checkpoint": checkpoint, "counts": (0, 3), "temporal_smoothing": smoothing}
        explain(folder, 2, tmp_path / name, **settings)
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "smooth.png").read_bytes()


def test_wrong_inputs_are_named(checkpoint, folder, tmp_path):
    for changes, message in (
        ({"frame": 6}, "--frame is 6; .*clip has the frames 0 to 5"),
        ({"frame": -1}, "--frame is -1"),
        ({"pixel": (48, 0)}, r"--pixel is \(48, 0\); the frames are \(48, 64\)"),
        ({"output": tmp_path / "x.jpg"}, r"x.jpg; expected a .png file"),
        ({"output": folder / "frame8.png" / "x.png"}, "cannot be written to"),
        ({"size": (9, 99)}, "size is"),
        ({"sampling": "best"}, "sampling is 'best'"),
    ):
        arguments = {"path": folder, "frame": 0, "output": tmp_path / "x.png", "checkpoint": checkpoint, **changes}
        with pytest.raises(InputError, match=message):
            explain(**arguments)
    assert not (tmp_path / "x.png").exists()
