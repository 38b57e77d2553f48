"""Sound files of every kind that the package reads, and ways to damage them."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from ml_collections import ConfigDict
from raw_datasets import make_davis
from tiny_network import random_variables, tiny_network
from video_files import encode, make_frames

from configs import synthetic
from cosnet_jax.checkpoints.load import load_checkpoint
from cosnet_jax.checkpoints.weights import SUFFIX, save_weights
from cosnet_jax.data.builders.davis16 import Davis16
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


def _listing(folder: Path) -> Path:
    return make_davis(folder / "DAVIS", {"bear": 1}, {"camel": 1}) / "ImageSets" / "480p" / "val.txt"


def _read_listing(path: Path) -> None:
    folder = make_davis(path.parent / "DAVIS", {"bear": 1}, {"camel": 1})
    (folder / "ImageSets" / "480p" / "val.txt").write_bytes(path.read_bytes())
    Davis16.scan(folder)


# Kind of input -> what makes a sound one in a folder, and what reads it.
INPUTS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "image": (_image, lambda path: list(open_video(path))),
    "video": (_video, lambda path: list(open_video(path))),
    "mask": (_mask, read_mask),
    "pth": (_pth, read_state_dict),
    "weights": (_weights, load_checkpoint),
    "listing": (_listing, _read_listing),
}
if importlib.util.find_spec("torch") is None:
    del INPUTS["pth"]


def damage(sound: bytes, rng: random.Random) -> bytes:
    """Damages a file once to three times: changed bits and numbers, cut, dropped, repeated or inserted parts."""
    data = sound
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(min(len(data), rng.choice((64, len(data)))) or 1)
        kind, before, after = (
            rng.choice(("flip", "number", "cut", "drop", "repeat", "insert")),
            data[:start],
            data[start:],
        )
        if kind == "flip":
            after = bytes(byte ^ 1 << rng.randrange(8) for byte in after[:1]) + after[1:]
        elif kind == "number":
            after = rng.choice(NUMBERS).to_bytes(4, rng.choice(("big", "little"))) + after[4:]
        elif kind == "cut":
            after = b""
        elif kind == "drop":
            after = after[rng.randint(1, 64) :]
        elif kind == "repeat":
            after = after[:64] * rng.randint(2, 20) + after
        else:
            after = rng.randbytes(rng.randint(1, 40)) + after
        data = before + after
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
