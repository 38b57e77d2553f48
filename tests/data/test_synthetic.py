"""Synthetic videos and still images as sequences."""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.data.scenes import draw_scene, render
from cosnet_jax.data.synthetic import open_stills, open_videos


def settings(**changes) -> ConfigDict:
    return ConfigDict(
        {"num_videos": 4, "num_val_videos": 3, "num_frames": 6, "num_stills": 12, "size": (40, 56)} | changes
    )


def test_videos_have_the_configured_numbers_and_no_frame_in_both_splits():
    train, val = open_videos("train", settings()), open_videos("val", settings())
    assert [video.name for video in train + val] == [
        *(f"train{n:04d}" for n in range(4)),
        "val0000",
        "val0001",
        "val0002",
    ]
    assert val[1].size == (40, 56) and val[1].frame_names[5] == "00005" and val[1].annotated == tuple(range(6))
    frames = [{image.tobytes() for video in videos for image in video} for videos in (train, val)]
    assert len(frames[0]) == 24 and len(frames[1]) == 18 and not frames[0] & frames[1]


def test_the_mask_is_the_visible_part_of_the_primary_object():
    hidden = 0
    for number, video in enumerate(open_videos("train", settings(num_videos=30))):
        for i in (0, 3):
            scene = draw_scene(0, number, 6)
            whole = render(scene._replace(shown=((0,),) * 6), i, (40, 56))[1] == 0
            nearer = [row for row in scene.shown[i] if scene.objects.depth[row] > scene.objects.depth[0]]
            over = [render(scene._replace(shown=((row,),) * 6), i, (40, 56))[1] == row for row in nearer]
            visible = whole & ~np.any(over, axis=0) if over else whole
            assert np.array_equal(video.mask(i), visible)
            hidden += (whole & ~visible).sum()
    assert hidden > 0


def test_stills_show_one_object():
    stills = open_stills(settings())
    assert stills.name == "synthetic" and len(stills) == len({image.tobytes() for image in stills}) == 12
    for i in range(12):
        image, mask = stills.frame_and_mask(i)
        assert image.shape == (40, 56, 3) and 0.01 < mask.mean() < 0.4
        # Saturated colours on a greyer background: the object stands out.
        saturation = np.ptp(image.astype(int), axis=2)
        assert saturation[mask].mean() > 1.3 * saturation[~mask].mean()
