"""One reader for masks as programs write them. Inputs are made with Pillow."""

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from cosnet_jax.errors import InputError
from cosnet_jax.video.masks import mask_of, read_mask

MASK = np.zeros((24, 32), bool)
MASK[4:14, 6:20] = True
LABELS = MASK.astype(np.uint8)
LABELS[4:14, 14:20] = 2  # a second object


def _palette(indices, colours):
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def _rgba(colour, alpha):
    return Image.fromarray(np.dstack([*[np.full(MASK.shape, value, np.uint8) for value in colour], alpha]))


WHITE = MASK.astype(np.uint8) * 255
COLOURED = np.array([(0, 0, 0), (64, 0, 0), (0, 128, 0)], np.uint8)[LABELS]
STORED = {
    "0 and 255": Image.fromarray(WHITE),
    "0 and 1": Image.fromarray(MASK.astype(np.uint8)),
    "0 and 128": Image.fromarray(MASK.astype(np.uint8) * 128),
    "labels": Image.fromarray(LABELS),
    "labels as grey of a palette": Image.fromarray(LABELS * 37),
    "bilevel": Image.fromarray(MASK),
    "palette": _palette(LABELS, [(0, 0, 0), (128, 0, 0), (0, 128, 0)]),
    "palette of dark colours": _palette(LABELS, [(0, 0, 0), (1, 1, 1), (0, 0, 0)]),
    "palette with a light background": _palette(LABELS, [(250, 250, 250), (0, 0, 0), (9, 0, 0)]),
    "palette of grey levels": _palette(WHITE, [(k, k, k) for k in range(256)]),
    "16 bits, full range": Image.fromarray(MASK.astype(np.uint16) * 65535),
    "16 bits, 255": Image.fromarray(MASK.astype(np.uint16) * 255),
    "16 bits, labels": Image.fromarray(LABELS.astype(np.uint16)),
    "RGB": Image.fromarray(np.dstack([WHITE] * 3)),
    "RGB of 0 and 1": Image.fromarray(np.dstack([MASK.astype(np.uint8)] * 3)),
    "RGB of labels": Image.fromarray(COLOURED),
    "RGBA, all white": _rgba((255, 255, 255), WHITE),
    "RGBA, all black": _rgba((0, 0, 0), WHITE),
    "RGBA, opaque": Image.fromarray(np.dstack([WHITE, WHITE, WHITE, WHITE * 0 + 255])),
    "RGBA, both": Image.fromarray(np.dstack([COLOURED, WHITE])),
    "grey and alpha": Image.fromarray(np.dstack([WHITE * 0 + 255, WHITE]), "LA"),
}


@pytest.mark.parametrize("kind", STORED)
def test_the_same_mask_is_read_from(kind, tmp_path):
    STORED[kind].save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), MASK)


@pytest.mark.parametrize("name", ["mask.jpg", "mask.bmp", "mask.gif", "mask.webp", "mask.tif", "mask.pgm"])
def test_file_formats(name, tmp_path):
    STORED["0 and 255"].save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    np.testing.assert_array_equal(read_mask(tmp_path / name), MASK)


def test_labels_of_few_bits(tmp_path):
    """Optimisers of PNG files store labels up to 3 in 2 bits; decoders stretch them to 0, 85, 170, 255."""
    _palette(LABELS, [(0, 0, 0)] * 3).save(tmp_path / "two.png", bits=2)
    data = bytearray((tmp_path / "two.png").read_bytes())
    assert data[24:26] == b"\x02\x03"
    (tmp_path / "two.png").write_bytes(_as_grey(bytes(data)))
    np.testing.assert_array_equal(read_mask(tmp_path / "two.png"), MASK)


def _as_grey(data: bytes) -> bytes:
    """Turns a PNG with a palette into a grey one: its colour type, and no palette."""
    out, at = data[:8], 8
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            body = body[:9] + b"\x00" + body[10:]
        if kind != b"PLTE":
            out += length.to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        at += 12 + length
    return out


def test_soft_masks_have_a_threshold():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    np.testing.assert_array_equal(mask_of(ramp), ramp > 127)
    np.testing.assert_array_equal(mask_of(ramp.astype(np.uint16) * 257), ramp > 127)
    smooth = cv2.resize(WHITE, (21, 16), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(mask_of(smooth), smooth > 127)
    assert not mask_of(ramp[:, :20]).any()
    np.testing.assert_array_equal(mask_of(np.where(MASK, 254, 1).astype(np.uint8)), MASK)


@pytest.mark.parametrize(
    "values",
    [
        np.where(LABELS == 2, 255, LABELS),  # label 1 and white, or void
        LABELS * 85,  # spread labels: 85 is below the threshold
        COLOURED + 30,  # no black
        np.dstack([COLOURED, np.where(LABELS == 2, 255, 50)]),
    ],
    ids=["label and white", "spread labels", "no black", "alpha and colours differ"],
)
def test_two_readings_are_an_error(values, tmp_path):
    file = tmp_path / "mask.png"
    Image.fromarray(values.astype(np.uint8)).save(file)
    with pytest.raises(InputError, match=r"mask\.png"):
        read_mask(file)


def test_labels_in_a_jpeg_are_an_error(tmp_path):
    Image.fromarray(LABELS * 10).save(tmp_path / "mask.jpg")
    with pytest.raises(InputError, match=r"mask\.jpg"):
        read_mask(tmp_path / "mask.jpg")
    Image.fromarray(LABELS * 0).save(tmp_path / "empty.jpg")
    assert not read_mask(tmp_path / "empty.jpg").any()


def test_own_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(WHITE[::-1, ::-1]).save(tmp_path / "mask.png", exif=exif)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), MASK)


def test_damaged_files_are_an_error(tmp_path):
    stream = io.BytesIO()
    STORED["RGB"].save(stream, "PNG")
    (tmp_path / "mask.png").write_bytes(stream.getvalue()[:60])
    with pytest.raises(InputError, match=r"mask\.png"):
        read_mask(tmp_path / "mask.png")
