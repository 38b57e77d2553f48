"""Folders of predicted masks: which are accepted, how they are binarised, and the errors for the others."""

import numpy as np
import pytest
from memory_sequence import MemorySequence, moving_ellipses
from PIL import Image

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.predictions import check_predictions, read_sequence_masks
from cosnet_jax.evaluation.protocols import get_protocol
from cosnet_jax.evaluation.score import score_masks

MASK = np.zeros((6, 9), bool)
MASK[1:4, 2:7] = True
OTHER = ~MASK
DAVIS, FBMS = get_protocol("davis16"), get_protocol("fbms")


def palette_image(mask, colours):
    image = Image.fromarray(mask.astype(np.uint8), mode="P")
    image.putpalette(colours)
    return image


def with_alpha(colour, alpha):
    return Image.fromarray(np.dstack([np.full((*alpha.shape, 3), colour, np.uint8), alpha]))


KINDS = {
    "white": lambda mask: Image.fromarray(mask.astype(np.uint8) * 255),
    "one": lambda mask: Image.fromarray(mask.astype(np.uint8)),
    "labels": lambda mask: Image.fromarray(np.where(mask, np.arange(mask.shape[1]) % 3 + 1, 0).astype(np.uint8)),
    "white16": lambda mask: Image.fromarray(mask.astype(np.uint16) * 65535),
    "alpha on black": lambda mask: with_alpha(0, mask.astype(np.uint8) * 255),
    "palette": lambda mask: palette_image(mask, [0, 0, 0, 128, 0, 0]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_mask_scores_the_same(kind, tmp_path):
    sequence = moving_ellipses("a", 5)
    masks = [np.roll(mask, 2, axis=1) for mask in sequence.masks]
    for folder, write in (("white", KINDS["white"]), (kind, KINDS[kind])):
        (tmp_path / folder / "a").mkdir(parents=True, exist_ok=True)
        for name, mask in zip(sequence.frame_names, masks, strict=True):
            write(mask).save(tmp_path / folder / "a" / f"{name}.png")
    np.testing.assert_array_equal(list(read_sequence_masks(tmp_path / kind, sequence).values()), masks)
    scores = [score_masks([sequence], tmp_path / folder, processes=1) for folder in ("white", kind)]
    assert scores[0] == scores[1] and 0 < scores[0]["J"]["mean"] < 1


@pytest.fixture
def sequences():
    return [MemorySequence("a", [MASK] * 4), MemorySequence("b", [MASK] * 3)]


@pytest.fixture
def folder(write_masks, sequences):
    return write_masks({sequence.name: dict.fromkeys(sequence.frame_names, OTHER) for sequence in sequences})


@pytest.mark.parametrize("missing", [(0,), (3,), (0, 3)])
def test_frames_that_are_not_evaluated_need_no_mask(folder, sequences, missing):
    for number in missing:
        (folder / f"a/0000{number}.png").unlink()
    check_predictions(folder, sequences, DAVIS)
    with pytest.raises(InputError, match=rf"a/0000{missing[0]}\.png: predicted mask is missing"):
        check_predictions(folder, sequences, FBMS)


def test_missing_frame(folder, sequences):
    (folder / "a/00002.png").unlink()
    with pytest.raises(InputError, match=r"a/00002\.png: predicted mask is missing$"):
        check_predictions(folder, sequences, DAVIS)


def test_suffixes_of_upper_case(folder, sequences):
    (folder / "a/00002.png").rename(folder / "a/00002.PNG")
    check_predictions(folder, sequences, DAVIS)
    np.testing.assert_array_equal(read_sequence_masks(folder, sequences[0], [2])[2], OTHER)


def test_a_folder_level_too_many_or_too_few(folder, sequences):
    with pytest.raises(InputError, match=r"holds no sequence; .* name .*/masks$"):
        check_predictions(folder.parent, sequences, DAVIS)
    with pytest.raises(InputError, match="name the folder above it"):
        check_predictions(folder / "a", sequences, DAVIS)


def test_only_annotated_frames_need_a_mask(write_masks):
    folder = write_masks({"a": {"00001": MASK}})
    check_predictions(folder, [MemorySequence("a", [None, MASK, None])], FBMS)


def test_missing_sequence(folder, sequences):
    with pytest.raises(InputError, match=r"masks/c: predicted masks of sequence 'c' are missing"):
        check_predictions(folder, [*sequences, MemorySequence("c", [MASK] * 3)], DAVIS)


def test_missing_folder(tmp_path, sequences):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        check_predictions(tmp_path / "nowhere", sequences, DAVIS)


def test_extra_frame(folder, sequences):
    (folder / "b/00003.png").write_bytes((folder / "b/00002.png").read_bytes())
    with pytest.raises(InputError, match=r"b/00003\.png: not a frame of sequence 'b'"):
        check_predictions(folder, sequences, DAVIS)


def test_extra_sequences_are_returned(folder, sequences):
    assert check_predictions(folder, sequences, DAVIS) == []
    assert check_predictions(folder, sequences[:1], DAVIS) == ["b"]


def test_other_files_are_left_alone(folder, sequences):
    (folder / "notes.txt").write_text("by hand")
    (folder / "a/thumbnail.jpg").write_bytes(b"")
    (folder / "logs").mkdir()
    check_predictions(folder, sequences, DAVIS)


def test_wrong_size(folder, sequences):
    Image.fromarray(np.zeros((9, 6), np.uint8)).save(folder / "a/00001.png")
    with pytest.raises(InputError, match=r"a/00001\.png: mask of 9 x 6 pixels, but .* 'a' has 6 x 9"):
        check_predictions(folder, sequences, DAVIS)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8 not a PNG"])
def test_files_that_are_no_png(folder, sequences, content):
    (folder / "a/00002.png").write_bytes(content)
    with pytest.raises(InputError, match=r"a/00002\.png: not a PNG image"):
        check_predictions(folder, sequences, DAVIS)


def test_damage_that_only_decoding_shows(folder, sequences):
    path = folder / "a/00002.png"
    content = bytearray(path.read_bytes())
    start = content.index(b"IDAT") + 8
    content[start] ^= 255
    for damaged in (bytes(content), bytes(content[:start])):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"a/00002\.png: not a readable mask"):
            read_sequence_masks(folder, sequences[0], [2])
    path.unlink()
    with pytest.raises(InputError, match=r"a/00002\.png: cannot be read"):
        read_sequence_masks(folder, sequences[0], [2])
