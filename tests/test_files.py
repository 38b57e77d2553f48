"""Atomic writing, output folders and the order of names."""

from __future__ import annotations

import os

import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.files import atomic_write, bounded_name, expanded, natural_key, writable_folder


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "a.png"
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"first")
        assert not path.exists() and temporary.parent == tmp_path
    assert path.read_bytes() == b"first"
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as temporary:
        temporary.write_bytes(b"half of the sec")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"first" and os.listdir(tmp_path) == ["a.png"]
    missing = atomic_write(tmp_path / "missing" / "b.png")
    with pytest.raises(InputError, match=r"b\.png: cannot be written \(No such file"), missing as temporary:
        temporary.write_bytes(b"")
    with (
        pytest.raises(InputError, match=r"c\.png: cannot be written \(Not a directory"),
        atomic_write(path / "c.png") as below,
    ):
        below.write_bytes(b"")


def test_a_writable_folder_is_made_and_tried(tmp_path):
    folder = writable_folder(tmp_path / "deep" / "er")
    assert folder.is_dir() and os.listdir(folder) == []
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot be written to"):
            writable_folder(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write to read-only folders")
def test_a_read_only_folder_is_an_error(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written to"):
        writable_folder(tmp_path / "locked")


def test_a_name_that_is_too_long_becomes_a_digest(tmp_path):
    names = ["a.html", f"{'n' * 195}.html", f"{'n' * 196}.html", f"{'m' * 300}.html", f"{'é' * 150}.html"]
    short = [bounded_name(name) for name in names]
    assert short[:2] == names[:2] and len(set(short)) == 5
    for name in short:
        assert name.endswith(".html") and len(os.fsencode(name)) <= 200


def test_the_home_folder_is_expanded_and_a_strangers_is_not(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(expanded("~/out")) == "/home/me/out"
    assert str(expanded("~nobody-of-that-name/out")) == "~nobody-of-that-name/out"


def test_natural_key_orders_numbers_by_value(tmp_path):
    names = ["b1", "a10", "a9", "10", "9", "a", "a09"]
    expected = ["9", "10", "a", "a09", "a9", "a10", "b1"]
    assert sorted(names, key=natural_key) == expected
    assert sorted([tmp_path / name for name in names], key=natural_key) == [tmp_path / name for name in expected]
