"""Masks of a sequence on disk: finished is what has the same settings, frames and masks."""

from __future__ import annotations

import numpy as np
import pytest
from memory_sequence import MemorySequence

from cosnet_jax.errors import InputError
from cosnet_jax.inference.sequence_masks import RECORD, SequenceMasks

SETTINGS = {"weights": "1", "size": [32, 32]}


def sequence(first=0):
    """Three frames, the first of one colour."""
    frames = np.random.default_rng(0).integers(0, 255, (3, 8, 10, 3)).astype(np.uint8)
    frames[0] = first
    return MemorySequence("cat", np.zeros((3, 8, 10), bool), frames)


def output(folder, settings=SETTINGS, first=0):
    return SequenceMasks(sequence(first), (folder / "masks", folder / "alone"), settings)


@pytest.fixture
def finished(tmp_path):
    """A folder with all masks of `sequence`."""
    written = output(tmp_path)
    assert not written.is_finished()
    written.begin()
    for index, frame in enumerate(written.sequence):
        written.add_frame(frame)
        for kind in (0, 1):
            assert not (tmp_path / "masks/cat" / RECORD).exists()
            written.write(kind, index, frame[..., 0] > 100 * kind)
    return tmp_path


def test_the_last_mask_finishes_the_sequence(finished):
    assert output(finished).is_finished()
    assert len(list(finished.glob("*/cat/*.png"))) == 6


@pytest.mark.parametrize(
    "change",
    [
        lambda masks: output(masks, SETTINGS | {"weights": "2"}),
        lambda masks: output(masks, first=1),
        lambda masks: (masks / "alone/cat/00001.png").unlink(),
        lambda masks: (masks / "alone/cat/00001.png").write_bytes((masks / "alone/cat/00002.png").read_bytes()),
        lambda masks: (masks / "masks/cat" / RECORD).write_bytes(b'{"settings": '),
    ],
    ids=["settings", "frames", "missing_mask", "other_mask", "torn_record"],
)
def test_what_changed_is_not_finished(finished, change):
    other = change(finished)
    assert not (other if isinstance(other, SequenceMasks) else output(finished)).is_finished()


def test_the_record_is_of_what_was_written_not_of_what_is_there(tmp_path):
    """Another evaluation in the same folder, or a disk, may change a mask before the last one comes."""
    written = output(tmp_path)
    written.begin()
    for index, frame in enumerate(written.sequence):
        written.add_frame(frame)
        for kind in (0, 1):
            written.write(kind, index, frame[..., 0] > 100 * kind)
            (tmp_path / "masks/cat/00000.png").write_bytes(b"other")
    assert (tmp_path / "masks/cat" / RECORD).exists()
    assert not output(tmp_path).is_finished()


def test_the_next_run_removes_earlier_masks_and_nothing_else(finished):
    for name in (".00001.png.7.part", "9.png", "notes.txt"):
        (finished / "alone/cat" / name).touch()
    output(finished).begin()
    assert [path.name for path in (finished / "alone/cat").iterdir()] == ["notes.txt"]
    assert not (finished / "masks/cat" / RECORD).exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "alone").write_text("")
    with pytest.raises(InputError, match="alone/cat: cannot be written"):
        output(tmp_path).begin()
