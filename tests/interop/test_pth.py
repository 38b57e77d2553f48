"""The .pth reader against what PyTorch saves."""

from __future__ import annotations

import argparse
from collections import OrderedDict, defaultdict
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from cosnet_jax.errors import InputError
from cosnet_jax.interop.pth import read_pth, read_state_dict

torch = pytest.importorskip("torch", reason="PyTorch writes the files")
pytestmark = pytest.mark.torch
nn = torch.nn

DTYPES = ("float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool")
both_formats = pytest.mark.parametrize("zipped", [False, True], ids=["legacy", "zip"])


def save(path, content, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def small_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU())
    model(torch.randn(2, 3, 5, 5))
    return model


def assert_same(arrays, tensors):
    assert list(arrays) == list(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(arrays[name], tensor.detach().numpy(), strict=True)


@both_formats
def test_every_dtype_shape_and_view(tmp_path, zipped):
    tensors = {dtype: torch.tensor([[0, 1], [1, 0]]).to(getattr(torch, dtype)) for dtype in DTYPES}
    bfloat16 = tensors.pop("bfloat16")
    base = torch.arange(60, dtype=torch.float32)
    tensors |= {"base": base, "offset": base[7:19], "transposed": base.reshape(5, 12).t(), "scalar": base[3]}
    tensors |= {"stepped": base.reshape(5, 12)[1::2, 3::4], "expanded": base[3:4].expand(6, 2), "empty": base[:0]}
    arrays = read_pth(save(tmp_path / "a.pth", {**tensors, "bfloat16": bfloat16}, zipped))
    assert arrays.pop("bfloat16").dtype == ml_dtypes.bfloat16
    assert_same(arrays, tensors)
    assert np.shares_memory(arrays["base"], arrays["transposed"])


@both_formats
@pytest.mark.parametrize("protocol", [2, 5])
def test_plain_containers(tmp_path, zipped, protocol):
    content = {
        "name": "cosnet \u00e9 \U0001f600",
        "flags": [True, False, None, 2.5e-4],
        "sizes": ((), (1,), (1, 2, 3, 4), -1, 300, 70_000, -(2**40), 2**63),
        "optimizer": {"state": {140_234_234_234_234: {"step": 3}}, "param_groups": [{"params": list(range(300))}]},
        "ordered": OrderedDict(b=1, a=2),
    }
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    assert read_pth(path) == content


@pytest.mark.parametrize("key", [None, "model", "state_dict", "model_state_dict", "ema", "any"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_weights_are_found_and_wrappers_names_removed(tmp_path, prefix, key):
    expected = small_model().state_dict()  # carries `_metadata`
    content = OrderedDict((prefix + name, value) for name, value in expected.items())
    content._metadata = expected._metadata
    others = {"epoch": 3, "mean": torch.zeros(3), "optimizer": {"state": {0: {"step": torch.ones(1)}}}}
    path = save(tmp_path / "a.pth", content if key is None else {**others, key: content}, zipped=key == "ema")
    assert_same(read_state_dict(path), expected)


def test_foreign_objects_beside_the_weights_do_no_harm(tmp_path):
    model = small_model()
    optimizer = torch.optim.AdamW(model.parameters())
    content = {
        "lr_scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4]).state_dict(),  # holds a Counter
        "args": argparse.Namespace(lr=0.1, path=Path("x")),
        "history": [np.float64(3), np.arange(3), {1, 2}, torch.device("cpu"), torch.float32, defaultdict(list, a=[1])],
        "tensors": [torch.eye(3).to_sparse(), torch.ones(2, dtype=torch.complex64), torch.ones(2, dtype=torch.uint16)],
        "network": torch.optim.swa_utils.AveragedModel(model),
        "optimizer": optimizer.state_dict(),
        "model": model.state_dict(),
    }
    assert_same(read_state_dict(save(tmp_path / "a.pth", content)), model.state_dict())
    averaged = save(tmp_path / "b.pth", content["network"].state_dict())
    assert_same(read_state_dict(averaged), model.state_dict())
    parameters = save(tmp_path / "c.pth", dict(model.named_parameters()))
    assert_same(read_state_dict(parameters), dict(model.named_parameters()))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_safetensors_of_the_same_names(tmp_path, dtype):
    array = np.arange(3).astype(dtype)
    safetensors.numpy.save_file({f"module._orig_mod.{name}": array for name in "ab"}, tmp_path / "a.safetensors")
    read = read_state_dict(tmp_path / "a.safetensors")
    assert list(read) == ["a", "b"]
    np.testing.assert_array_equal(read["a"], array, strict=True)


def test_names_that_differ_in_a_wrapper_alone_stay(tmp_path):
    path = save(tmp_path / "a.pth", {"module.a": torch.zeros(1), "a": torch.zeros(1)})
    assert list(read_state_dict(path)) == ["module.a", "a"]


@pytest.mark.parametrize("content", [{"epoch": 3}, {}, [1, 2], {"model": {1: 2}}, nn.ReLU()], ids=str)
def test_no_state_dict(tmp_path, content):
    with pytest.raises(InputError, match=r"a\.pth: found .*expected a state dict"):
        read_state_dict(save(tmp_path / "a.pth", content))


@pytest.mark.parametrize("content", [b"", b"GIF89a", bytes(1000)])
def test_other_files(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.pth: expected a file written by torch\.save"):
        read_pth(tmp_path / "a.pth")
    for unreadable in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_pth(unreadable)
