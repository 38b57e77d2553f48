"""The public API, as a researcher types it: everything from `import cosnet_jax as cosnet`."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import numpy as np

import cosnet_jax as cosnet


class MyBackbone(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        features = nn.Conv(8, (8, 8), (8, 8))(images)
        return features, features, features


def test_the_api_in_one_go(tmp_path, frames, monkeypatch):
    monkeypatch.chdir(tmp_path)
    steps, rng = 10, np.random.default_rng(0)
    pairs = rng.integers(0, 256, (1, 2, 65, 81, 3), np.uint8)
    masks = np.tile(np.tri(65, 81, dtype=np.uint8), (1, 2, 1, 1))

    model, variables, config = cosnet.load("davis16_lite")
    logits, aux = model.apply(variables, pairs)
    assert logits.shape == aux["side_logits"].shape == (1, 2, 65, 81)
    assert aux["features"].shape == aux["summary"].shape == (1, 2, 9, 11, 128)
    assert aux["gate"].shape == (1, 2, 9, 11)
    assert aux["affinity"].shape == (1, 2, 99, 9)  # references are pooled 4 x 4
    (logits, aux), updated = model.apply(variables, pairs, train=True, mutable=["batch_stats"])
    assert jax.tree.structure(updated["batch_stats"]) == jax.tree.structure(variables["batch_stats"])
    loss, parts = cosnet.pair_loss(logits, aux["side_logits"], masks)
    assert float(loss) == float(parts["coattention"]) > 0
    optimizer = cosnet.make_optimizer(config.optimizer, variables["params"], steps)
    assert optimizer.init(variables["params"])
    segmenter = cosnet.Segmenter(model, variables, size=(65, 81), num_references=5)
    assert segmenter.model is model and segmenter.variables is variables and segmenter.config.num_references == 5
    maps = segmenter(frames)
    assert maps.shape == frames.shape[:3]
    mask, truth = maps[0] > 0.5, maps[0] > 0.4
    assert 0 <= cosnet.jaccard(mask, truth) <= 1 and 0 <= cosnet.boundary_f(mask, truth) <= 1
    cosnet.save("mine.safetensors", model, variables, config)
    assert cosnet.load("mine.safetensors")[0] == model
    model = cosnet.COSNet(backbone=MyBackbone(), channels=128)
    shapes = jax.eval_shape(lambda: cosnet.init_variables(model, 0))
    assert shapes["params"]["encoder"]["body"]["Conv_0"]["kernel"].shape == (8, 8, 3, 8)


def test_intermediates_of_the_shipped_model_can_be_taken():
    model, variables, _ = cosnet.load("davis16_lite")
    run = functools.partial(model.apply, capture_intermediates=True, mutable=["intermediates"])
    _, taken = jax.eval_shape(run, variables, np.zeros((1, 2, 65, 81, 3), np.uint8))
    assert taken["intermediates"]["encoder"]["body"]["block0"]["__call__"][0].shape == (2, 33, 41, 16)
