"""The table of differences. That there are none is tested in test_parity.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cosnet_jax.errors import InputError
from cosnet_jax.interop.parity import compare, differences, smooth_frames, to_twin
from cosnet_jax.interop.pth import write_pth


def test_differences_by_hand():
    theirs = {"b": np.array([1.0, -4.0]), "a": np.array([[0.0]])}
    rows = differences({"a": np.array([[0.0]]), "b": np.array([1.5, -4.0]), "c": np.array(1)}, theirs)
    assert [tuple(row) for row in rows] == [("b", 0.5, 0.125), ("a", 0.0, 0.0)]
    assert np.isnan(differences({"a": np.array([np.nan])}, {"a": np.array([1.0])})[0].absolute)


def test_the_twin_takes_bgr_without_the_mean():
    frames = np.zeros((1, 2, 5, 3), np.uint8)
    frames[0, 1, 2] = (10, 20, 30)
    images = to_twin(frames)
    assert images.shape == (1, 3, 2, 5) and images.dtype == np.float32
    expected = np.array([30, 20, 10]) - (104.00699, 116.66877, 122.67892)
    np.testing.assert_allclose(images[0, :, 1, 2], expected, rtol=1e-6)


def test_frames_are_smooth_and_differ():
    frames = smooth_frames((48, 65))
    assert frames.shape == (2, 48, 65, 3) and frames.dtype == np.uint8
    assert np.abs(np.diff(frames.astype(int), axis=2)).max() < 64  # noise of 8 pixels, enlarged
    assert np.abs(frames[0].astype(int) - frames[1]).mean() > 20


def test_other_weights_are_refused_before_anything_runs(tmp_path):
    write_pth(tmp_path / "x.pth", {"conv1.weight": np.zeros((1, 1, 1, 1), np.float32)})
    with pytest.raises(InputError, match=r"x\.pth does not fit in 575 places"):
        compare(tmp_path / "x.pth", (33, 33))


def test_the_whole_command_on_a_file(reference, case, tmp_path):
    torch.save({"model": {name: torch.from_numpy(value) for name, value in case.weights().items()}}, tmp_path / "x.pth")
    rows = compare(tmp_path / "x.pth", (65, 80))
    assert len(rows) == 25
    assert max(row.relative for row in rows) < 2e-5
