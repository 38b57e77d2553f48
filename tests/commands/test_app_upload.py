"""Uploads: what is taken, scaled down or refused, and the bounds of the process that decodes them."""

from __future__ import annotations

import time

import pytest
from video_files import encode, make_frames

from cosnet_jax.commands.app_upload import Limits, check_upload, in_child
from cosnet_jax.errors import InputError
from cosnet_jax.video.reader import open_video


@pytest.fixture
def upload(tmp_path, frames):
    """48 x 64 pixels, 6 frames of 1/25 s."""
    return encode(tmp_path / "a.mkv", list(frames))


def test_a_small_video_stays_as_it_is(upload):
    before = upload.read_bytes()
    assert check_upload(upload, Limits(side=64)) == upload
    assert upload.read_bytes() == before


def test_a_large_video_is_scaled_down(upload):
    smaller = check_upload(upload, Limits(side=32))
    assert smaller.name == "a-32x24.mp4" and list(upload.parent.glob("a*")) == [smaller]
    video = open_video(smaller)
    assert video.size == (24, 32) and len(video) == 6 and video.fps == 25


def test_long_videos_are_refused(tmp_path, upload):
    with pytest.raises(InputError, match=r"0\.2 s long; this page takes 0\.15"):
        check_upload(upload, Limits(seconds=0.15))
    fast = encode(tmp_path / "fast.mkv", make_frames(31), rate=1000, codec="mjpeg", pix_fmt="yuvj420p")
    with pytest.raises(InputError, match="more than 30 frames"):
        check_upload(fast, Limits(seconds=0.5))


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"seconds": float("nan")}, {"seconds": 1e9}, {"side": 0}])
def test_limits_have_limits(limits):
    with pytest.raises(InputError, match=f"--max-{next(iter(limits))} is .*; expected "):
        Limits(**limits)


def allocate(size):
    return len(bytes(size))


def test_a_child_has_bounds():
    assert in_child(allocate, 3, seconds=60) == 3
    with pytest.raises(InputError, match="memory"):
        in_child(allocate, 2**34, seconds=60, memory=2**33)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"not decoded within 0\.5 s"):
        in_child(time.sleep, 60, seconds=0.5)
    assert time.monotonic() - start < 30
