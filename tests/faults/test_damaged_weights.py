"""Weights, checkpoints and records that once ended in a traceback or went unnoticed."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zipfile

import jax
import numpy as np
import pytest
import tensorstore as ts
from tiny_network import random_variables, tiny_synthetic, write_checkpoint

from cosnet_jax.checkpoints.initial import load_initial_weights
from cosnet_jax.checkpoints.store import load_checkpoint
from cosnet_jax.checkpoints.weights_file import export_weights, is_weights_file, read_weights_file
from cosnet_jax.errors import InputError
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.models.build import build_model
from cosnet_jax.training.metric_log import find_metrics, read_metrics


def npz(**entries: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return data.getvalue()


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


DAMAGED_NPZ = {
    "no zip": b"PK\x03\x04 nothing",
    "no array": npz(**{"config.npy": b"text"}),
    "broken header": npz(**{"config.npy": npy("{'descr': (\n")}),
    "a huge array": npz(
        **{"config.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n")}
    ),
    "objects": npz(
        **{"config.npy": npy("{'descr': '|O', 'fortran_order': False, 'shape': (), }\n", b"cos\nsystem\n.")}
    ),
    "a bomb": npz(**{"config.npy": bytes(200 * 2**20)}),
    "a damaged stream": npz(**{"config.npy": bytes(range(256)) * 99}).replace(b"\x99", b"\x00"),
}


@pytest.mark.parametrize("content", DAMAGED_NPZ.values(), ids=DAMAGED_NPZ)
def test_damaged_weights_are_refused(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a.npz is no weights file"):
        read_weights_file(path)
    if not is_weights_file(path):
        with pytest.raises(InputError, match=r"a.npz is not a readable .npz file"):
            load_initial_weights({}, str(path))


@pytest.mark.parametrize("text", ["[" * 20_000, "[]", "{}", '{"model": 1, "inference": {}}', "1e999"])
def test_a_weights_file_with_an_odd_configuration_is_refused(tmp_path, text):
    np.savez(tmp_path / "a.npz", config=text)
    with pytest.raises(InputError, match=r"a.npz is no weights file"):
        read_weights_file(tmp_path / "a.npz")


def test_weights_that_do_not_fit_their_configuration_are_named(tmp_path, frames):
    config = tiny_synthetic()
    variables = random_variables(build_model(config.model))
    del variables["params"]["encoder"]["body"]
    export_weights(tmp_path / "a.npz", variables, config)
    with pytest.raises(InputError, match="the weights do not fit the network of their configuration"):
        Segmenter.from_pretrained(tmp_path / "a.npz")(frames)


def test_statistics_of_another_shape_are_named(frames):
    config = tiny_synthetic()
    variables = random_variables(build_model(config.model))
    variables["batch_stats"] = jax.tree.map(lambda _: np.ones(3, np.float32), variables["batch_stats"])
    with pytest.raises(InputError, match="the weights do not fit the network of their configuration"):
        Segmenter.from_config(config, variables)(frames)


@pytest.mark.parametrize(
    "changes", [{"inference.size": [10**6, 10**6]}, {"inference.num_references": "many"}, {"model.blocks": None}]
)
def test_settings_of_a_strange_weights_file_are_checked(tmp_path, changes):
    config = tiny_synthetic().to_dict()
    for key, value in changes.items():
        section, name = key.split(".")
        config[section][name] = value
    np.savez(tmp_path / "a.npz", config=json.dumps(config))
    with pytest.raises(InputError):
        Segmenter.from_pretrained(tmp_path / "a.npz")


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")  # orbax drops coroutines when it meets damage
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_flipped_bit_of_a_checkpoints_arrays_is_noticed(tmp_path):
    """Neither orbax nor the compression has a checksum over all of them: wrong weights were loaded without a word."""
    folder = write_checkpoint(tiny_synthetic(), tmp_path / "checkpoints", step=1)
    arrays = max((path for path in folder.glob("**/*") if path.is_file()), key=lambda path: path.stat().st_size)
    data, rng = arrays.read_bytes(), np.random.default_rng(0)
    expected, _ = load_checkpoint(folder)
    refused = 0
    for position in rng.integers(0, len(data), 6).tolist():
        arrays.write_bytes(data[:position] + bytes([data[position] ^ 16]) + data[position + 1 :])
        try:
            found, _ = load_checkpoint(folder)
        except InputError as error:
            assert "cannot be read" in str(error)
            refused += 1
        else:  # a bit that only the optimiser's state has
            jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert refused


def test_a_chunk_that_is_larger_than_its_array_is_refused(tmp_path):
    """A chunk is read whole, and one of zeros packs well: 8 numbers took 1.6 GB. A file with a hole holds nothing."""
    folder = write_checkpoint(tiny_synthetic(), tmp_path / "checkpoints", step=1) / "1"
    shutil.rmtree(folder / "digests")
    store = ts.KvStore.open(f"file://{folder}/state/|ocdbt:").result()
    key = next(name for name in store.list().result() if name.startswith(b"params") and name.endswith(b"bias/.zarray"))
    entry = json.loads(store.read(key).result().value)
    store.write(key, json.dumps(entry | {"chunks": [4 * 10**8]}).encode()).result()
    with (folder / "hole").open("wb") as file:
        file.truncate(10**10)
    with pytest.raises(InputError, match=r"its arrays would take 1600\d{6} bytes, more than its files can hold"):
        load_checkpoint(folder)


def test_a_step_that_is_no_number_is_no_checkpoint(tmp_path):
    (tmp_path / "\N{SUPERSCRIPT TWO}" / "state").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no checkpoint"):
        load_checkpoint(tmp_path)


def test_names_of_thousands_of_levels_are_refused(tmp_path):
    """JAX ends with a SystemError when it walks such a tree."""
    np.savez(tmp_path / "a.npz", config='{"model": {}, "inference": {}}', **{f"params/{'a/' * 5000}x": np.zeros(1)})
    with pytest.raises(InputError, match=r"no weights file \(params/a/a/.* has more than 32 levels\)"):
        read_weights_file(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "line",
    [
        "[" * 20_000,
        "[]",
        '{"step": "1", "kind": "video"}',
        '{"step": 1}',
        "NaN",
        '{"step": 1, "kind": "a", "loss": "x"}',
    ],
)
def test_damaged_records_are_left_out(tmp_path, line):
    whole = '{"step": 1, "kind": "video", "loss": 0.5}'
    (tmp_path / "metrics.jsonl").write_text(f"{whole}\n{line}\n{whole}\n", encoding="utf-8")
    assert read_metrics(tmp_path / "metrics.jsonl") == [json.loads(whole)] * 2
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\n")
    assert find_metrics(tmp_path) == []
