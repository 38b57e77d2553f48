"""Tone mapping of HLG and PQ video (ITU-R BT.2100) to BT.709."""

from __future__ import annotations

import functools

import numpy as np

PQ, HLG = 16, 18  # transfer functions, numbered as in ITU-T H.273
HDR_TRANSFERS = frozenset({PQ, HLG})
WHITE = 203.0  # cd/m2 of diffuse white (ITU-R BT.2408); white of the result
PEAK = 1000.0  # cd/m2 of the display that HLG is meant for
KNEE = 0.8  # share of white up to which nothing is compressed
LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020's red, green and blue
TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)  # from linear BT.2020 (ITU-R BT.2087)


def to_bt709(codes: np.ndarray, transfer: int) -> np.ndarray:
    """Converts a frame of BT.2020.

    Args:
      codes: uint16 RGB (H, W, 3), 0 to 65535, in the codes of `transfer`.
      transfer: `PQ` or `HLG`.

    Returns:
      uint8 RGB (H, W, 3), for a display of gamma 2.4. Up to 80% of diffuse white colours are kept, above they are
      compressed so that the brightest just reach 255.
    """
    light = _light(transfer)[codes]
    if transfer == HLG:
        light = light * (light @ LUMINANCE)[..., None] ** 0.2 * (PEAK / WHITE)
    light = np.maximum(np.einsum("dc,hwc->hwd", TO_BT709, light), 0)
    brightest = light.max(axis=-1, keepdims=True)
    mapped = np.where(brightest > KNEE, 1 - (1 - KNEE) * np.exp((KNEE - brightest) / (1 - KNEE)), brightest)
    light *= mapped / np.maximum(brightest, 1e-6)
    return (255 * light ** (1 / 2.4) + 0.5).astype(np.uint8)


@functools.cache
def _light(transfer: int) -> np.ndarray:
    """Returns float32 (65536,), the light of each code: in units of white for PQ, scene light 0 to 1 for HLG."""
    signal = np.arange(65536) / 65535
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        power = signal ** (32 / 2523)
        ratio = np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)
        light = 10_000 / WHITE * ratio ** (8192 / 1305)
    return light.astype(np.float32)
