"""Reads masks as annotation tools and other programs write them: what a value means depends on what the file holds."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cosnet_jax.errors import InputError
from cosnet_jax.files import report_read_errors

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "PPM", "TIFF")
MAX_PIXELS = 2**26  # of an image, twice as many as 8K has
LAST_LABEL = 31  # an image whose values are all at most this holds label numbers
FEW = 16  # values; grey with more of them is a soft mask
FEW_COLOURS = 64
NEAR_WHITE = 10  # values this close below white come from lossy compression


def read_mask(path: str | Path) -> np.ndarray:
    """Reads a mask file.

    Args:
      path: the file, in one of `FORMATS`. An EXIF orientation of its own is applied.

    Returns:
      bool (H, W), True for foreground.

    Raises:
      InputError: the file cannot be read, or its values can be read in two ways.
    """
    with report_read_errors(Path(path)):
        data = Path(path).read_bytes()
    return decode_mask(data, path)


def decode_mask(data: bytes, name: str | Path) -> np.ndarray:
    """Does what `read_mask` does, for the bytes of a file. `name` is what errors call it."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{name}: {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read")
            depth = _bits(image)
            lossy = image.format == "JPEG" or (image.format == "WEBP" and b"VP8L" not in data)
            image.load()
            upright = ImageOps.exif_transpose(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: not a readable mask ({error}); copy it again, or convert it to PNG") from error
    try:
        if upright.mode == "P" and image.format == "GIF":  # its palette is the order of colours, not of labels
            upright = upright.convert("RGB")
        if upright.mode == "P" and not _is_grey_ramp(upright):
            return np.asarray(upright) != 0
        if upright.mode == "1" or depth < 8:  # bilevel, or label numbers of 2 or 4 bits, which Pillow stretches
            return np.asarray(upright) != 0
        if upright.mode in ("LA", "PA", "CMYK", "YCbCr"):
            upright = upright.convert("RGB" if upright.mode in ("CMYK", "YCbCr") else "RGBA")
        return mask_of(np.asarray(upright), lossy)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def mask_of(values: np.ndarray, lossy: bool = False) -> np.ndarray:
    """Decides which pixels of a stored mask are foreground.

    - A single value besides 0, values up to `LAST_LABEL`, or few values none of which is bright: label numbers, all but
      0 are foreground.
    - Other grey: above half its range (127, or 32,767 if a value is above 255).
    - Colours: few of them are labels, all but black are foreground; many: a channel above 127.
    - RGBA: the alpha if the colours say nothing; the colours if the alpha says nothing; both if they agree.

    Args:
      values: bool, integers or float (H, W), or uint8 RGB or RGBA (H, W, 3 or 4). Palette indices are not such values.
      lossy: whether they come from a JPEG or lossy WebP, in which small numbers are noise.

    Returns:
      bool (H, W).

    Raises:
      InputError: the values can be read in two ways.
    """
    if values.ndim == 3 and values.shape[2] == 4:
        return _mask_of_rgba(values, lossy)
    if values.ndim == 3:
        return _mask_of_rgb(values, lossy)
    return _mask_of_grey(values, lossy)


def _mask_of_grey(values: np.ndarray, lossy: bool) -> np.ndarray:
    if values.dtype.kind == "f":
        if not 0 <= values.min() <= values.max() <= 255:
            raise InputError(f"values from {values.min()} to {values.max()}; expected a mask of 0 to 1, or 0 to 255")
        return values > 0.5 if values.max() <= 1 else _mask_of_grey(values.round().astype(np.uint8), lossy)
    found = np.unique(values)
    if found[-1] == 0 or found.size == 1:
        return values != 0
    if lossy:
        if found[-1] <= LAST_LABEL:
            raise InputError(
                f"a JPEG of values from {found[0]} to {found[-1]}: label numbers or an empty mask; save it as PNG"
            )
        return values > 127
    if found[found > 0].size == 1:
        return values != 0
    if found[-1] <= LAST_LABEL and (found.size <= FEW or _inside_regions(values)[values > 0].mean() > 0.5):
        return values != 0  # otherwise a soft mask of nothing
    white = 255 if found[-1] <= 255 else 65535
    if found.size > FEW or np.any((found < white) & (found >= white - NEAR_WHITE)):
        return values > white // 2
    if found[-1] <= white // 2:
        return values != 0
    dark = (values > 0) & (values <= white // 2)
    if np.any(dark & _inside_regions(values)):
        listed = ", ".join(str(value) for value in found)
        raise InputError(
            f"its values {listed} can be label numbers, of which all but 0 are foreground, or grey, above "
            f"{white // 2}; expected 0 and 255, or a palette"
        )
    return values > white // 2


def _mask_of_rgb(values: np.ndarray, lossy: bool) -> np.ndarray:
    brightest = values.max(axis=-1)
    if np.array_equal(brightest, values.min(axis=-1)):
        return _mask_of_grey(brightest, lossy)
    colours = np.unique(values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32))
    if lossy or colours.size > FEW_COLOURS:
        return brightest > 127
    if colours[0] != 0:
        raise InputError(f"{colours.size} colours without black; expected a black background")
    return brightest != 0


def _mask_of_rgba(values: np.ndarray, lossy: bool) -> np.ndarray:
    colours, alpha = values[..., :3], values[..., 3]
    if alpha.min() == alpha.max():
        return _mask_of_rgb(colours, lossy)
    opaque = alpha > 127
    seen = colours[alpha > 0]
    if (seen == seen[0]).all():
        return opaque
    coloured = _mask_of_rgb(np.where(alpha[..., None] > 0, colours, 0), lossy)
    if not np.array_equal(coloured, opaque):
        raise InputError(
            f"its alpha has {opaque.mean():.0%} of foreground, its colours {coloured.mean():.0%}: two masks; keep one"
        )
    return opaque


def _inside_regions(values: np.ndarray) -> np.ndarray:
    """Tells for each pixel whether its 3x3 neighbours all have its value: smooth edges have no such pixels."""
    values, square = values.astype(np.float32), np.ones((3, 3), np.uint8)
    return cv2.erode(values, square) == cv2.dilate(values, square)


def _bits(image: Image.Image) -> int:
    """Returns the bits of a pixel of a grey image as stored; 8 for more and for all others."""
    tiles = getattr(image, "tile", [])
    raw = tiles[0][3] if tiles else None
    return int(raw[2:]) if image.format == "PNG" and raw in ("L;2", "L;4") else 8


def _is_grey_ramp(image: Image.Image) -> bool:
    """Tells whether index k of the palette is grey k, as some programs save grey images."""
    palette = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    return len(palette) == 256 and (palette == np.arange(256, dtype=np.uint8)[:, None]).all()
