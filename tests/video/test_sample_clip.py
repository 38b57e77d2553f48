"""The sample clip: what is in it, and that its masks are those of what it shows."""

from __future__ import annotations

import numpy as np

from cosnet_jax.video.sample_clip import ASSETS, sample_clip


def test_the_astronaut_is_always_there_and_the_cup_for_a_while():
    clip = sample_clip(12)
    assert clip.frames.shape == (12, 270, 480, 3) and clip.frames.dtype == np.uint8
    assert clip.masks.shape == (12, 270, 480) and clip.masks.dtype == bool
    assert all(0.1 < mask.mean() < 0.2 for mask in clip.masks)
    assert 3 <= clip.visited.sum() <= 4
    assert not clip.visited[[0, -1]].any()
    red, _, blue = clip.frames[:, :135, 240:].astype(int).transpose(3, 0, 1, 2)
    reddish = (red - blue > 60).mean(axis=(1, 2))  # upper right: the cup, over a blue sky
    assert (reddish[clip.visited] > 0.05).all() and (reddish[~clip.visited] < 0.03).all()


def test_the_masks_are_where_the_astronaut_is():
    clip = sample_clip(6)
    for frame, mask in zip(clip.frames.astype(int), clip.masks, strict=True):
        suit = frame[..., 0] - frame[..., 2] > 100  # orange
        suit[:, 280:] = False  # the cup
        assert suit[mask].mean() > 0.3 and suit[~mask].mean() < 0.03  # there are lamps


def test_everything_moves_and_equal_arguments_give_equal_clips():
    clip = sample_clip(6)
    assert all(np.abs(a - b.astype(int)).mean() > 3 for a, b in zip(clip.frames, clip.frames[1:], strict=False))
    assert all((a ^ b).any() for a, b in zip(clip.masks, clip.masks[1:], strict=False))
    np.testing.assert_array_equal(sample_clip(6).frames, clip.frames)
    assert sample_clip(2, (90, 160)).frames.shape == (2, 90, 160, 3)


def test_the_pictures_are_small():
    assert sum(file.stat().st_size for file in ASSETS.glob("sample_*")) < 100_000
