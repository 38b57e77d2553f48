"""The .pth reader and writer against PyTorch's own."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.interop.pth import read_pth, read_state_dict, write_pth

torch = pytest.importorskip("torch", reason="PyTorch writes and reads the files")
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
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("key", [None, "model", "state_dict"])
def test_state_dict_is_found_and_stripped(tmp_path, zipped, prefix, key):
    expected = small_model().state_dict()  # carries `_metadata`
    content = OrderedDict((prefix + name, value) for name, value in expected.items())
    content._metadata = expected._metadata
    path = save(tmp_path / "a.pth", content if key is None else {"epoch": 3, key: content}, zipped)
    arrays = read_state_dict(path)
    assert list(arrays) == list(expected)
    for name, tensor in expected.items():
        assert_identical(arrays[name], tensor.numpy())


@both_formats
def test_reads_parameters(tmp_path, zipped):
    parameters = dict(small_model().named_parameters())
    arrays = read_state_dict(save(tmp_path / "a.pth", parameters, zipped))
    for name, parameter in parameters.items():
        assert_identical(arrays[name], parameter.detach().numpy())


def test_only_a_prefix_of_all_names_is_stripped(tmp_path):
    write_pth(tmp_path / "a.pth", {"module.a": np.zeros(1), "b": np.zeros(1)})
    assert list(read_state_dict(tmp_path / "a.pth")) == ["module.a", "b"]


def text(value):
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value.encode()


def test_reads_parameters_as_pytorch_0_3_wrote_them(tmp_path):
    """`Parameter(_rebuild_tensor(storage view, ...))` whose state is set afterwards. torch.load confirms the bytes."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("7") + text("cpu") + b"K\x06"
    storage += b"(" + text("8") + b"K\x01K\x04tt" + pickle.BINPERSID  # a view of 4 elements from element 1
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00K\x02K\x02\x86K\x02K\x01\x86tR"
    state = b"\x88\x89ccollections\nOrderedDict\n)R\x87"
    parameter = b"ctorch.nn.parameter\nParameter\n" + tensor + b"\x85R" + state + b"b"
    content = b"\x80\x02ccollections\nOrderedDict\n]](" + text("w") + parameter + b"ea\x85R."
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    values = np.arange(6, dtype="<f4")
    path = tmp_path / "old.pth"
    path.write_bytes(b"".join(parts) + content + pickle.dumps(["7"], 2) + struct.pack("<q", 6) + values.tobytes())
    expected = torch.load(path, weights_only=False)["w"]
    assert isinstance(expected, nn.Parameter)
    assert_identical(read_state_dict(path)["w"], expected.detach().numpy())
    assert_identical(read_state_dict(path)["w"], np.array([[1, 2], [3, 4]], np.float32))


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


def test_written_files_are_reproducible(tmp_path):
    content = {"a": np.arange(5.0), "b": [1, (2.5, "x", None, True)]}
    write_pth(tmp_path / "a.pth", content)
    write_pth(tmp_path / "b.pth", content)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()
    assert read_pth(tmp_path / "a.pth")["b"] == content["b"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(2, np.complex64), "complex64"),
        (np.zeros(2, np.uint16), "uint16"),
        (np.array(["a"]), "<U1"),
        ({1, 2}, "a set cannot be written"),
    ],
)
def test_refuses_to_write_other_types(tmp_path, value, message):
    with pytest.raises(InputError, match=message):
        write_pth(tmp_path / "a.pth", {"x": value})
    assert not list(tmp_path.iterdir())


def test_write_needs_its_folder(tmp_path):
    with pytest.raises(InputError, match=r"nowhere/a\.pth: cannot be written"):
        write_pth(tmp_path / "nowhere" / "a.pth", {})


@both_formats
@pytest.mark.parametrize("content", [{"epoch": 3}, {}, [1, 2], {"model": {"a": torch.ones(1), "b": 0}}], ids=str)
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


def test_zip_that_is_not_torchs(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match=r"no single data\.pkl"):
        read_pth(tmp_path / "a.pth")


def test_compressed_zip_is_refused(tmp_path):
    source = io.BytesIO()
    torch.save({"a": torch.zeros(1000)}, source)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(InputError, match="compressed"):
        read_pth(tmp_path / "a.pth")
