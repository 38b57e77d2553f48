"""Sound files of every kind that the package reads, and ways to damage them."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from ml_collections import ConfigDict
from tiny_network import random_variables, tiny_network
from video_files import encode, make_frames

from configs import synthetic
from cosnet_jax.checkpoints.load import load_checkpoint
from cosnet_jax.checkpoints.weights import SUFFIX, save_weights
from cosnet_jax.errors import InputError
from cosnet_jax.interop.pth import read_state_dict
from cosnet_jax.video.masks import read_mask
from cosnet_jax.video.reader import open_video

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 30_000, 10**6, 2**31 - 1, 2**31, 2**32 - 1)


def _image(folder: Path) -> Path:
    cv2.imwrite(str(folder / "image.png"), np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
    return folder / "image.png"


def _mask(folder: Path) -> Path:
    cv2.imwrite(str(folder / "mask.png"), 255 * np.tri(24, 32, dtype=np.uint8))
    return folder / "mask.png"


def _video(folder: Path) -> Path:
    return encode(folder / "clip.mp4", make_frames(3), "libx264", "yuv420p")


def _pth(folder: Path) -> Path:
    import torch

    torch.save({"epoch": 1, "model": {"a.weight": torch.ones(2, 3)}}, folder / "weights.pth")
    return folder / "weights.pth"


def _weights(folder: Path) -> Path:
    config = synthetic.get_config("smoke")
    save_weights(folder / f"weights{SUFFIX}", random_variables(tiny_network()), ConfigDict(config.to_dict()))
    return folder / f"weights{SUFFIX}"


# Kind of input -> what makes a sound one in a folder, and what reads it.
INPUTS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "image": (_image, lambda path: list(open_video(path))),
    "video": (_video, lambda path: list(open_video(path))),
    "mask": (_mask, read_mask),
    "pth": (_pth, read_state_dict),
    "weights": (_weights, load_checkpoint),
}
if importlib.util.find_spec("torch") is None:
    del INPUTS["pth"]


def damage(sound: bytes, rng: random.Random) -> bytes:
    """Damages a file once to three times: changed bits and numbers, cut, dropped, repeated or inserted parts."""
    data = sound
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(min(len(data), rng.choice((64, len(data)))) or 1)
        before, after = data[:start], data[start:]
        changed = {
            "flip": lambda after: bytes(byte ^ 1 << rng.randrange(8) for byte in after[:1]) + after[1:],
            "number": lambda after: rng.choice(NUMBERS).to_bytes(4, rng.choice(("big", "little"))) + after[4:],
            "cut": lambda after: b"",
            "drop": lambda after: after[rng.randint(1, 64) :],
            "repeat": lambda after: after[:64] * rng.randint(2, 20) + after,
            "insert": lambda after: rng.randbytes(rng.randint(1, 40)) + after,
        }
        data = before + changed[rng.choice(list(changed))](after)
    return data


def read_or_refuse(read: Callable[[Path], object], path: Path, data: bytes) -> bool:
    """Reads a damaged file; returns whether it was read. Anything but an `InputError` of one line goes on upwards."""
    path.write_bytes(data)
    try:
        read(path)
    except InputError as error:
        assert "\n" not in str(error)
        return False
    return True
