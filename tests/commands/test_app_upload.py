"""Uploads: what is taken, scaled down or refused, and the bounds of the process that decodes them."""

from __future__ import annotations

import multiprocessing

import pytest
from video_files import encode

from cosnet_jax.commands import app_upload
from cosnet_jax.commands.app_upload import Limits, bound_memory, check_in_child, check_upload
from cosnet_jax.errors import InputError
from cosnet_jax.video.reader import open_video


@pytest.fixture
def upload(tmp_path, frames):
    """48 x 64 pixels, 6 frames of 1/25 s."""
    return encode(tmp_path / "a.mkv", list(frames))


def test_a_small_video_stays_and_a_large_one_is_scaled_down(upload):
    before = upload.read_bytes()
    assert check_upload(upload, Limits(side=64)) == upload
    assert upload.read_bytes() == before
    smaller = check_in_child(upload, Limits(side=32))
    assert smaller.name == "a-32x24.mp4" and list(upload.parent.glob("a*")) == [smaller]
    video = open_video(smaller)
    assert video.size == (24, 32) and len(video) == 6 and video.fps == 25


def test_what_takes_too_long_is_refused(upload, monkeypatch):
    with pytest.raises(InputError, match=r"0\.2 s long; this page takes 0\.15"):
        check_in_child(upload, Limits(seconds=0.15))
    monkeypatch.setattr(app_upload, "PATIENCE", 0)
    with pytest.raises(InputError, match=r"not decoded within 0 s"):
        check_in_child(upload, Limits())


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"seconds": float("nan")}, {"side": 0}])
def test_limits_have_limits(limits):
    with pytest.raises(InputError, match=f"--max-{next(iter(limits))} is .*; expected "):
        Limits(**limits)


def test_a_childs_memory_is_bounded():
    with multiprocessing.get_context("spawn").Pool(1, bound_memory, [2**33]) as pool:
        assert pool.apply(bytes, [3]) == b"\0\0\0"
        with pytest.raises(MemoryError):
            pool.apply(bytes, [2**34])
