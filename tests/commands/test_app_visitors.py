"""When the files of visitors go: another upload, a closed page, an idle one, the end of the server."""

from __future__ import annotations

import os
import shutil
import time

import pytest
from video_files import encode, make_frames

from cosnet_jax.commands.app_clip import Limits
from cosnet_jax.commands.app_visitors import Visitors
from cosnet_jax.errors import InputError


@pytest.fixture
def source(tmp_path):
    return encode(tmp_path / "source.mkv", make_frames(2))


def upload_to(visitors, source, name="a.mkv"):
    """Puts a video where the server puts uploads."""
    folder = visitors.uploads / "1f3a"
    folder.mkdir(exist_ok=True)
    return shutil.copy(source, folder / name)


def files_of(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_another_upload_replaces_the_visitors_own_clip_only(tmp_path, source):
    with Visitors(tmp_path / "app", Limits()) as visitors:
        first = visitors.receive("ann", upload_to(visitors, source))
        visitors.receive("bob", upload_to(visitors, source, "b.mkv"))
        assert visitors.clip("ann") is first
        assert visitors.receive("ann", upload_to(visitors, source, "c.mkv")) is visitors.clip("ann") is not first
        assert files_of(tmp_path / "app") == ["b.mkv", "c.mkv"]
        assert first.left  # a segmentation of it stops
        folders = [os.listdir(tmp_path / "app" / kind) for kind in ("private", "public")]
        assert sorted(folders[0]) == sorted(folders[1])
        assert all(len(name) == 32 for name in folders[0])  # 128 random bits
    assert files_of(tmp_path / "app") == [] and not any(
        os.listdir(tmp_path / "app" / kind) for kind in ("private", "public")
    )


def test_clips_of_those_who_left_or_are_idle_go(tmp_path, source):
    visitors = Visitors(tmp_path / "app", Limits(), idle_seconds=100, left_seconds=10)
    for name in ("here", "back", "left", "idle"):
        visitors.receive(name, upload_to(visitors, source, f"{name}.mkv"))
    for name in ("back", "left"):
        visitors.leave(name)
    visitors.leave("a stranger")
    visitors.sweep()
    assert len(files_of(tmp_path / "app")) == 4
    visitors.clip("back")  # a phone that slept
    for name, seconds in (("here", 90), ("back", 90), ("left", 11), ("idle", 101)):
        visitors._clips[name].used -= seconds
    visitors.sweep()
    assert files_of(tmp_path / "app") == ["back.mkv", "here.mkv"]
    with pytest.raises(InputError, match=r"there is no video; .* Upload it again"):
        visitors.clip("left")


def test_uploads_that_became_no_clip_go(tmp_path, source):
    visitors = Visitors(tmp_path / "app", Limits(), idle_seconds=100)
    upload_to(visitors, source, "new.mkv")
    old = time.time() - 101
    os.utime(upload_to(visitors, source, "old.mkv"), (old, old))
    visitors.sweep()
    assert files_of(tmp_path / "app") == ["new.mkv"]


def test_the_sweeping_needs_no_visitor(tmp_path, source):
    with Visitors(tmp_path / "app", Limits(), idle_seconds=2.0, period=0.05) as visitors:
        visitors.receive("ann", upload_to(visitors, source))
        end = time.monotonic() + 60
        while files_of(tmp_path / "app"):
            assert time.monotonic() < end
            time.sleep(0.05)


def test_what_a_stopping_segmentation_wrote_goes_a_little_later(tmp_path, source, monkeypatch):
    visitors = Visitors(tmp_path / "app", Limits())
    visitors.receive("ann", upload_to(visitors, source))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # a folder in which a file appears meanwhile stays
        visitors.receive("ann", upload_to(visitors, source, "b.mkv"))
        visitors.sweep()
    assert files_of(tmp_path / "app") == ["a.mkv", "b.mkv"]
    visitors.sweep()
    assert files_of(tmp_path / "app") == ["b.mkv"]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("private/0af3/a.mp4", "a.mp4"),
        ("public/0af3/tmp1_x/masks/00000.png", "masks/00000.png"),
        ("public/0af3", "the server's folder"),
    ],
)
def test_messages_name_no_folders(tmp_path, path, shown):
    visitors = Visitors(tmp_path / "app", Limits())
    error = InputError(f"{tmp_path / 'app' / path}: cannot be written (No space left on device)")
    assert visitors.message(error) == f"{shown}: cannot be written (No space left on device)"


def test_what_is_no_video_is_refused_without_naming_folders(tmp_path):
    with Visitors(tmp_path / "app", Limits()) as visitors:
        (visitors.uploads / "a.mp4").write_text("no video")
        with pytest.raises(InputError) as refused:
            visitors.receive("ann", visitors.uploads / "a.mp4")
        assert visitors.message(refused.value).startswith("a.mp4: not a readable video (")
        assert files_of(tmp_path / "app") == []
        with pytest.raises(InputError, match=r"^a.mp4: cannot be "):  # the same file was uploaded twice at once
            visitors.receive("ann", visitors.uploads / "a.mp4")
