"""Listings of datasets and weights of PyTorch as inputs: what is read without JAX."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
from faults.kinds import Kind
from faults.mutations import mutate_text
from raw_datasets import make_davis

from cosnet_jax.data.builders.base import Scan
from cosnet_jax.data.builders.davis16 import Davis16
from cosnet_jax.data.builders.fbms import Fbms
from cosnet_jax.errors import InputError
from cosnet_jax.interop.pth import read_state_dict, write_pth
from tests.data.builders.test_fbms import make_grey_sequence

LEGACY_PARTS = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001, "type_sizes": {}})


def make_listings(folder: Path) -> list[str]:
    """The lists of frames of DAVIS and a definition file of FBMS."""
    make_davis(folder / "davis", {"bear": 2}, {"camel": 2})
    make_grey_sequence(folder / "fbms" / "Testset" / "bear01", with_definition=True)
    definition = next((folder / "fbms").glob("**/*.dat"))
    listings = (folder / "davis" / "ImageSets" / "480p").iterdir()
    return [str(path.relative_to(folder)) for path in (*sorted(listings), definition)]


def read_listing(folder: Path, file: Path) -> None:
    """Scans the dataset of the listing, as `cosnet prepare` does before it reads an image."""
    in_fbms = (folder / "fbms") in file.parents
    scan: Scan = Fbms.scan(folder / "fbms") if in_fbms else Davis16.scan(folder / "davis")
    if scan.problems:
        raise InputError(scan.problems[0])
    scan.fingerprint(folder)
    for frame in scan.frames():
        assert not {frame.sequence, frame.name} & {"", ".", ".."}
        assert "/" not in frame.sequence + frame.name
        if in_fbms and frame.mask:
            Fbms.read_mask(frame.mask)


def make_pth(folder: Path) -> list[str]:
    """A state dict in both formats of PyTorch."""
    rng = np.random.default_rng(0)
    arrays = {"encoder.weight": rng.normal(size=(4, 3, 3, 3)), "encoder.bias": np.zeros(4), "steps": np.array(7)}
    write_pth(folder / "zip.pth", {"epoch": 3, "model": arrays, "names": ["a", ("b", 1.5, None, True)]})
    with zipfile.ZipFile(folder / "zip.pth") as archive:
        keys = sorted(name.rpartition("/")[2] for name in archive.namelist() if "/data/" in name)
        storages = [archive.read(f"archive/data/{key}") for key in keys]
        program = archive.read("archive/data.pkl")
    parts = [*(pickle.dumps(part, 2) for part in LEGACY_PARTS), program, pickle.dumps(keys, 2)]
    parts += [struct.pack("<q", len(storage) // 8) + storage for storage in storages]
    (folder / "legacy.pth").write_bytes(b"".join(parts))
    return ["zip.pth", "legacy.pth"]


def read_weights_of_torch(_: Path, file: Path) -> None:
    read_state_dict(file)


KINDS = (
    Kind("listing", make_listings, read_listing, mutate_text),
    Kind(".pth", make_pth, read_weights_of_torch),
)
