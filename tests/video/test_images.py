"""Reading images and masks, against Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from cosnet_jax.video import images as image_files

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 40, 3), np.uint8)


def encode(array: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg_with_thumbnail() -> bytes:
    """Makes a JPEG whose EXIF segment contains a whole JPEG with its end marker."""
    thumbnail = encode(NOISE[:8, :8], "JPEG")
    payload = b"Exif\0\0" + thumbnail
    whole = encode(NOISE, "JPEG")
    return whole[:2] + b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload + whole[2:]


FILES = {
    "baseline": encode(NOISE, "JPEG"),
    "progressive": encode(NOISE, "JPEG", progressive=True),
    "restarts": encode(NOISE, "JPEG", restart_marker_blocks=1),
    "grey": encode(NOISE[..., 0], "JPEG"),
    "thumbnail": jpeg_with_thumbnail(),
    "png": encode(NOISE, "PNG"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_noticed(name):
    data = FILES[name]
    start = 8 if name == "png" else 2  # shorter files are not recognisable as either
    missing = 4 if name == "png" else 0  # the checksum after a PNG's last chunk carries nothing
    lengths = range(start, len(data) - missing)
    assert [n for n in lengths if not image_files.is_truncated(data[:n])] == []
    assert not image_files.is_truncated(data)


@pytest.mark.parametrize("name", FILES)
def test_bytes_after_the_end_do_not_matter(name):
    assert not image_files.is_truncated(FILES[name] + b"\0\0\xff\xd8 trailing")


def test_an_image_is_decoded_as_pillow_does():
    assert np.array_equal(image_files.decode_image(FILES["png"]), NOISE)
    ours = image_files.decode_image(FILES["baseline"]).astype(int)
    theirs = np.asarray(Image.open(io.BytesIO(FILES["baseline"]))).astype(int)
    # The rounding of the inverse DCT may differ.
    assert np.abs(ours - theirs).max() <= 3
    grey = image_files.decode_image(FILES["grey"])
    assert grey.shape == NOISE.shape and np.array_equal(grey[..., 0], grey[..., 2])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_images_are_read_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(NOISE, kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    difference = image_files.decode_image(data).astype(int) - np.asarray(expected)
    assert abs(difference).max() <= 2


@pytest.mark.parametrize("data", [b"", b"not an image", FILES["png"][:20]])
def test_other_bytes_give_none(data):
    assert image_files.decode_image(data) is None
    assert image_files.decode_mask(data, 0) is None


def test_masks_of_every_kind():
    truth = NOISE[..., 0] > 128
    black, dim = np.zeros((*truth.shape, 3), np.uint8), np.zeros((*truth.shape, 3), np.uint8)
    dim[truth] = (0, 1, 0)
    palette = Image.fromarray(truth.astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    opaque = np.full((*truth.shape, 1), 255, np.uint8)
    kinds = {
        "grey": truth.astype(np.uint8) * 255,
        "bit": Image.fromarray(truth),
        "palette": palette,
        "rgb": dim,
        "rgba": np.concatenate([dim, opaque], axis=2),
        "grey + alpha": np.concatenate([dim[..., 1:2], opaque], axis=2),
        "grey16": truth.astype(np.uint16) * 256,
    }
    for name, stored in kinds.items():
        assert np.array_equal(image_files.decode_mask(encode(stored, "PNG"), 0), truth), name
    for shape in (black, black[..., :1]):
        assert not image_files.decode_mask(encode(np.concatenate([shape, opaque], axis=2), "PNG"), 0).any()


def test_soft_masks_are_cut_above_the_threshold():
    soft = np.array([[0, 1, 127, 128, 255]], np.uint8)
    assert image_files.decode_mask(encode(soft, "PNG"), 127).tolist() == [[False, False, False, True, True]]


def test_an_encoded_mask_is_grey_black_and_white():
    truth = NOISE[..., 0] > 128
    stored = Image.open(io.BytesIO(image_files.encode_mask(truth)))
    assert stored.format == "PNG" and np.array_equal(np.asarray(stored.convert("L")), np.where(truth, 255, 0))
    assert np.array_equal(image_files.decode_mask(image_files.encode_mask(truth), 127), truth)
