"""The .pth reader and writer against PyTorch's own."""

from __future__ import annotations

import argparse
from collections import OrderedDict, defaultdict
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from cosnet_jax.errors import InputError
from cosnet_jax.interop.pth import read_pth, read_state_dict, write_pth

torch = pytest.importorskip("torch", reason="PyTorch writes and reads the files")
pytestmark = pytest.mark.torch
nn = torch.nn

DTYPES = {
    torch.float16: np.float16,
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.bfloat16: ml_dtypes.bfloat16,
    torch.int8: np.int8,
    torch.int16: np.int16,
    torch.int32: np.int32,
    torch.int64: np.int64,
    torch.uint8: np.uint8,
    torch.bool: np.bool_,
}
both_formats = pytest.mark.parametrize("zipped", [False, True], ids=["legacy", "zip"])


def save(path, content, zipped):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def as_numpy(tensor):
    return tensor.float().numpy().astype(ml_dtypes.bfloat16) if tensor.dtype == torch.bfloat16 else tensor.numpy()


def assert_identical(array, expected):
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected, strict=True)


def small_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU())
    model(torch.randn(2, 3, 5, 5))
    return model


@both_formats
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_reads_every_dtype(tmp_path, dtype, zipped):
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randint(0, 2 if dtype == torch.bool else 100, (3, 4, 2), generator=generator).to(dtype)
    content = {"full": tensor, "scalar": tensor[0, 0, 0], "empty": tensor[:0], "huge_empty": tensor.new_zeros(0, 2**40)}
    arrays = read_pth(save(tmp_path / "a.pth", content, zipped))
    assert arrays["full"].dtype == DTYPES[dtype]
    for name in ("full", "scalar", "empty"):
        assert_identical(arrays[name], as_numpy(content[name]))
    assert arrays["huge_empty"].shape == (0, 2**40)


@both_formats
def test_reads_strided_and_shared_storages(tmp_path, zipped):
    base = torch.arange(60, dtype=torch.float32)
    content = {
        "base": base,
        "offset": base[7:19],
        "transposed": base.reshape(5, 12).t(),
        "stepped": base.reshape(5, 12)[1::2, 3::4],
        "expanded": base[3:4].expand(6, 2),
    }
    arrays = read_pth(save(tmp_path / "a.pth", content, zipped))
    for name, tensor in content.items():
        assert_identical(arrays[name], tensor.numpy())
    assert np.shares_memory(arrays["base"], arrays["transposed"])


@both_formats
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_plain_containers_of_every_protocol(tmp_path, zipped, protocol):
    content = {
        "epoch": 7,
        "lr": 2.5e-4,
        "name": "cosnet \u00e9 \U0001f600",
        "nothing": None,
        "flags": [True, False],
        "sizes": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), -1, 300, 70_000, -(2**40), 2**63),
        "optimizer": {"state": {140_234_234_234_234: {"step": 3}}, "param_groups": [{"params": list(range(300))}]},
        "ordered": OrderedDict(b=1, a=2),
    }
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    assert read_pth(path) == content


@both_formats
@pytest.mark.parametrize("key", [None, "model", "state_dict", "model_state_dict", "ema", "any"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_weights_are_found_and_wrappers_names_removed(tmp_path, zipped, prefix, key):
    expected = small_model().state_dict()  # carries `_metadata`
    content = OrderedDict((prefix + name, value) for name, value in expected.items())
    content._metadata = expected._metadata
    others = {"epoch": 3, "mean": torch.zeros(3), "optimizer": {"state": {0: {"step": torch.ones(1)}}}}
    path = save(tmp_path / "a.pth", content if key is None else {**others, key: content}, zipped)
    arrays = read_state_dict(path)
    assert list(arrays) == list(expected)
    for name, tensor in expected.items():
        assert_identical(arrays[name], tensor.numpy())


@both_formats
def test_foreign_objects_beside_the_weights_do_no_harm(tmp_path, zipped):
    model = small_model()
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    others = {
        "lr_scheduler": scheduler.state_dict(),  # holds a collections.Counter
        "args": argparse.Namespace(lr=0.1, path=Path("x")),
        "best": np.float64(3),
        "history": [np.arange(3), {1, 2}, torch.device("cpu"), torch.float32, defaultdict(list, a=[1])],
        "sparse": torch.eye(3).to_sparse(),
        "complex": torch.ones(2, dtype=torch.complex64),
        "unsigned": torch.ones(2, dtype=torch.uint16),
        "network": torch.optim.swa_utils.AveragedModel(model),
    }
    path = save(
        tmp_path / "a.pth", {**others, "optimizer": optimizer.state_dict(), "model": model.state_dict()}, zipped
    )
    assert read_state_dict(path).keys() == model.state_dict().keys()
    averaged = save(tmp_path / "b.pth", others["network"].state_dict(), zipped)
    assert read_state_dict(averaged).keys() == model.state_dict().keys()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_reads_safetensors(tmp_path, dtype):
    arrays = {f"module._orig_mod.{name}": np.arange(3).astype(dtype) for name in "ab"}
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    read = read_state_dict(tmp_path / "a.safetensors")
    assert list(read) == ["a", "b"]
    assert_identical(read["a"], np.arange(3).astype(dtype))


@both_formats
def test_reads_parameters(tmp_path, zipped):
    parameters = dict(small_model().named_parameters())
    arrays = read_state_dict(save(tmp_path / "a.pth", parameters, zipped))
    for name, parameter in parameters.items():
        assert_identical(arrays[name], parameter.detach().numpy())


def test_names_that_differ_in_a_wrapper_alone_stay(tmp_path):
    write_pth(tmp_path / "a.pth", {"module.a": np.zeros(1), "a": np.zeros(1)})
    assert list(read_state_dict(tmp_path / "a.pth")) == ["module.a", "a"]


def test_bool_bytes_become_bools(tmp_path):
    path = save(tmp_path / "a.pth", {"mask": torch.tensor([True, False, True])}, False)
    content = path.read_bytes()
    path.write_bytes(content[:-3] + b"\x02\x00\xff")
    assert read_pth(path)["mask"].view(np.uint8).tolist() == [1, 0, 1]


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=lambda dtype: np.dtype(dtype).name)
def test_torch_reads_what_is_written(tmp_path, dtype):
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 2 if dtype is np.bool_ else 100, (4, 6)).astype(dtype)
    arrays = {"whole": whole, "view": whole[1:, ::2].T, "row": whole[:1], "scalar": whole[2, 3], "empty": whole[:, :0]}
    path = tmp_path / "ours.pth"
    write_pth(path, {"epoch": 4, "model": arrays})
    content = torch.load(path, weights_only=True)
    assert content["epoch"] == 4
    for name, array in arrays.items():
        tensor = content["model"][name]
        assert DTYPES[tensor.dtype] == dtype
        assert tensor.is_contiguous()
        assert_identical(as_numpy(tensor), np.asarray(array))
    assert list(tmp_path.iterdir()) == [path]


def test_round_trip_through_torch_is_the_identity(tmp_path):
    tensors = small_model().state_dict()
    ours = {name: tensor.numpy() for name, tensor in tensors.items()}
    write_pth(tmp_path / "a.pth", ours)
    nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU()).load_state_dict(torch.load(tmp_path / "a.pth"))
    for zipped in (False, True):
        again = read_state_dict(save(tmp_path / "b.pth", torch.load(tmp_path / "a.pth", weights_only=True), zipped))
        assert list(again) == list(ours)
        for name, array in ours.items():
            assert_identical(again[name], array)


@both_formats
@pytest.mark.parametrize("content", [{"epoch": 3}, {}, [1, 2], {"model": {1: 2}}], ids=str)
def test_no_state_dict(tmp_path, content, zipped):
    with pytest.raises(InputError, match=r"a\.pth: found .*expected a state dict"):
        read_state_dict(save(tmp_path / "a.pth", content, zipped))


def test_unreadable_paths(tmp_path):
    with pytest.raises(InputError, match=r"none\.pth: cannot be read"):
        read_pth(tmp_path / "none.pth")
    with pytest.raises(InputError, match="cannot be read"):
        read_pth(tmp_path)


@pytest.mark.parametrize("content", [b"", b"P", b"PK", b"GIF89a", b"\x89HDF\r\n\x1a\n" + bytes(100), bytes(1000)])
def test_other_formats(tmp_path, content):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.pth: expected a file written by torch\.save"):
        read_pth(path)
