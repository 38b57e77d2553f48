"""Folders of predicted masks: which are accepted, how they are binarised, and the errors for the others."""

import numpy as np
import pytest
from memory_sequence import MemorySequence
from PIL import Image

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.predictions import check_predictions, read_masks
from cosnet_jax.evaluation.protocols import get_protocol

MASK = np.zeros((6, 9), bool)
MASK[1:4, 2:7] = True
OTHER = ~MASK
GREY = np.where(MASK, 200, 90).astype(np.uint8)
DAVIS, FBMS = get_protocol("davis16"), get_protocol("fbms")


def palette_image(colours):
    image = Image.fromarray(MASK.astype(np.uint8), mode="L").convert("P")
    image.putdata(MASK.astype(np.uint8).ravel().tolist())
    image.putpalette(colours)
    return image


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(MASK.astype(np.uint8) * 255),
        Image.fromarray(MASK.astype(np.uint8) * 128),
        Image.fromarray(MASK.astype(np.uint8)),
        Image.fromarray(GREY),
        Image.fromarray(GREY.astype(np.uint16) * 257),
        Image.fromarray(MASK.astype(np.uint8) * 255).convert("1"),
        Image.fromarray(GREY).convert("RGB"),
        Image.fromarray(GREY).convert("LA"),
        Image.fromarray(MASK.astype(np.uint8) * 255).convert("RGBA"),
        palette_image([0, 0, 0, 128, 0, 0]),
        palette_image([0, 0, 0, 1, 1, 1]),
        Image.fromarray(np.stack([MASK * 10, MASK * 0, MASK * 90], axis=-1).astype(np.uint8)),
    ],
    ids=[
        *("binary", "half", "labels", "grey", "grey16", "bit", "rgb", "la", "rgba"),
        *("davis_palette", "grey_palette", "colours"),
    ],
)
def test_every_kind_of_mask(image, tmp_path):
    image.save(tmp_path / "0.png")
    (mask,) = read_masks([tmp_path / "0.png"])
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, MASK)


def test_grey_threshold(tmp_path):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "0.png")
    np.testing.assert_array_equal(read_masks([tmp_path / "0.png"])[0], levels > 127)


def test_faint_probabilities_beside_strong_ones_are_no_labels(tmp_path):
    faint, strong = np.zeros((2, 6, 9), np.uint8)
    faint[2, 2], strong[3, 3] = 1, 255
    for name, image in (("0", faint), ("1", strong)):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    masks = read_masks([tmp_path / "0.png", tmp_path / "1.png"])
    assert [int(mask.sum()) for mask in masks] == [0, 1]


def test_empty_sequence_of_masks(tmp_path):
    Image.fromarray(np.zeros((6, 9), np.uint8)).save(tmp_path / "0.png")
    assert not read_masks([tmp_path / "0.png"])[0].any()


@pytest.fixture
def sequences():
    return [MemorySequence("a", [MASK] * 4), MemorySequence("b", [MASK] * 3)]


@pytest.fixture
def folder(write_masks, sequences):
    return write_masks({sequence.name: dict.fromkeys(sequence.frame_names, OTHER) for sequence in sequences})


def test_complete_predictions_pass(folder, sequences):
    check_predictions(folder, sequences, DAVIS)


def test_both_ends_may_be_missing_where_they_are_not_evaluated(folder, sequences):
    (folder / "a/00000.png").unlink()
    (folder / "a/00003.png").unlink()
    check_predictions(folder, sequences, DAVIS)
    with pytest.raises(InputError, match=r"a/00000\.png: predicted mask is missing \(and 1 more problem\)"):
        check_predictions(folder, sequences, FBMS)


@pytest.mark.parametrize("frame", ["00000", "00002", "00003"])
def test_missing_frame(folder, sequences, frame):
    (folder / f"a/{frame}.png").unlink()
    with pytest.raises(InputError, match=rf"a/{frame}\.png: predicted mask is missing$"):
        check_predictions(folder, sequences, DAVIS)


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


def test_extra_sequence(folder, sequences):
    with pytest.raises(InputError, match="masks/b: not a sequence of this split"):
        check_predictions(folder, sequences[:1], DAVIS)


def test_other_files_are_left_alone(folder, sequences):
    (folder / "notes.txt").write_text("by hand")
    (folder / "a/thumbnail.jpg").write_bytes(b"")
    (folder / "logs").mkdir()
    check_predictions(folder, sequences, DAVIS)


def test_wrong_size(folder, sequences):
    Image.fromarray(np.zeros((9, 6), np.uint8)).save(folder / "a/00001.png")
    with pytest.raises(InputError, match=r"a/00001\.png: mask of 9 x 6 pixels, but the ground truth has 6 x 9"):
        check_predictions(folder, sequences, DAVIS)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-5], "truncated PNG image"),
        (lambda content: content[:20], "not a PNG image"),
        (lambda content: b"", "not a PNG image"),
        (lambda content: b"\xff\xd8" + content, "not a PNG image"),
    ],
)
def test_damaged_files(folder, sequences, damage, message):
    path = folder / "a/00002.png"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=rf"a/00002\.png: {message}"):
        check_predictions(folder, sequences, DAVIS)


def test_damage_that_only_decoding_shows(folder):
    path = folder / "a/00002.png"
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 8] ^= 255
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a/00002\.png: not a readable PNG image"):
        read_masks([path])
    with pytest.raises(InputError, match=r"a/none\.png: cannot be read"):
        read_masks([folder / "a/none.png"])
