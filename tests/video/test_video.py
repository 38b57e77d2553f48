"""Videos in memory, and everything that counts as a video."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cosnet_jax.errors import InputError
from cosnet_jax.video.video import ArrayVideo, Video, as_video, evenly_spaced_indices

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("total", "count", "expected"),
    [
        (7, 1, [0]),
        (7, 3, [0, 3, 6]),
        (7, 5, [0, 2, 3, 4, 6]),
        (3, 3, [0, 1, 2]),
        (3, 9, [0, 1, 2]),
        (3, 0, [0, 1, 2]),
        (1, 1, [0]),
        (0, 5, []),
    ],
)
def test_evenly_spaced_indices(total, count, expected):
    assert evenly_spaced_indices(total, count) == expected


@pytest.mark.parametrize("frames", [FRAMES, list(FRAMES)], ids=["array", "list"])
def test_an_array_or_list_is_a_video(frames):
    video = as_video(frames)
    assert isinstance(video, ArrayVideo) and isinstance(video, Video)
    assert (len(video), video.size) == (4, (6, 8))
    for _ in range(2):
        np.testing.assert_array_equal(list(video), FRAMES)
    np.testing.assert_array_equal(video.read([3, 0, 3]), FRAMES[[3, 0, 3]])
    assert list(video.read([])) == []
    for index in (4, -1):
        with pytest.raises(IndexError, match=f"no frame {index} in a video of 4 frames"):
            video.read([0, index])


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_a_path_is_opened(tmp_path, kind):
    for number, image in enumerate(FRAMES):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    video = as_video(kind(tmp_path))
    assert isinstance(video, Video) and video.path == tmp_path
    np.testing.assert_array_equal(list(video), FRAMES)


def test_a_video_is_returned_unchanged():
    video = ArrayVideo(FRAMES)
    assert as_video(video) is video


@pytest.mark.parametrize("value", [None, 7, iter(FRAMES), b"clip.mp4", {"frames": FRAMES}])
def test_anything_else_is_an_error(value):
    with pytest.raises(InputError, match=r"a video is a path, an array .* or a list of frames, not"):
        as_video(value)


@pytest.mark.parametrize(
    ("frames", "found"),
    [(["a.jpg", "b.jpg"], "of type str"), (FRAMES[..., 0], r"\(6, 8\) uint8"), (FRAMES[0, 0], r"\(3,\) uint8")],
)
def test_frames_that_are_no_images_are_an_error(frames, found):
    with pytest.raises(InputError, match=rf"frame 0 is {found}; expected \(H, W, 3\) uint8"):
        as_video(frames)
