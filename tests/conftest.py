"""Settings for all tests, and what many of them share: a tiny network, a short video, PyTorch's twin, a worked case."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
from pathlib import Path

from compilation import compilation_flags

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = compilation_flags(devices=4)
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
from browser import open_browser
from PIL import Image
from raw_datasets import make_davis
from tiny_network import make_tiny, write_checkpoint

from configs import synthetic
from cosnet_jax.models import resnet

# Traced programs are many objects; a tenth of the time went into looking for garbage among them.
gc.set_threshold(50_000, 50, 50)


# A fixture -> the marker of the tests that use it.
MARKERS = {"browser": "browser", "twin_module": "torch", "wheel": "wheel"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks tests by the resources that they need, and skips those of PyTorch where it is not installed."""
    for item in items:
        for fixture, marker in MARKERS.items():
            if fixture in item.fixturenames:
                item.add_marker(marker)
        if item.get_closest_marker("torch") and not importlib.util.find_spec("torch"):
            item.add_marker(pytest.mark.skip(reason="PyTorch is not installed"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A tiny network that was not trained."""
    config = synthetic.get_config("smoke")
    config.size = (32, 40)
    return write_checkpoint(make_tiny(config), tmp_path_factory.mktemp("checkpoint"), step=1)


@pytest.fixture(scope="session")
def frames():
    """A square that moves over noise."""
    images = np.random.default_rng(0).integers(0, 60, (6, 48, 64, 3)).astype(np.uint8)
    for number, image in enumerate(images):
        image[10:30, 5 + 6 * number : 25 + 6 * number] += 150
    return images


@pytest.fixture
def folder(tmp_path, frames):
    """The frames as a folder, beginning at frame8.png."""
    path = tmp_path / "clip"
    path.mkdir()
    for number, image in enumerate(frames, 8):
        Image.fromarray(image).save(path / f"frame{number}.png")
    return path


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium. It ends with its module: while playwright runs, the thread can start no other event loop."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def default_sigint():
    """Lets the children of a test react to SIGINT, even where the shell that started the tests ignores it (`nohup`)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def twin_module():
    """The module of the PyTorch twin."""
    torch = pytest.importorskip("torch", reason="the PyTorch twin needs torch")
    torch.set_num_threads(1)  # test processes run side by side
    from cosnet_jax.interop import twin

    return twin


@pytest.fixture(scope="session")
def released_weights(twin_module) -> dict[str, np.ndarray]:
    """A random state dict of the released model, scaled so that no stage vanishes or saturates."""
    rng = np.random.default_rng(0)
    weights = {}
    with twin_module.torch.device("meta"):  # names and shapes, no memory
        state_dict = twin_module.PairModel().state_dict()
    for name, tensor in state_dict.items():
        shape = tuple(tensor.shape)
        if name.endswith("num_batches_tracked"):
            weights[name] = np.array(5, np.int64)
            continue
        if name.endswith("running_var"):
            value = rng.uniform(0.5, 2, shape)
        elif name.endswith("prelu.weight"):
            value = np.full(shape, 0.2)
        elif len(shape) == 4:
            value = rng.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[1:]))
        elif len(shape) == 2:
            value = rng.standard_normal(shape, np.float32) * 0.01
        elif name.endswith("bn3.weight"):
            value = rng.uniform(0.1, 0.3, shape)
        elif name == "encoder.layer5.bn.weight":
            value = rng.uniform(0.5, 1.5, shape) / 50
        elif name.endswith("weight"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(0, 0.1, shape)
        weights[name] = np.asarray(value, np.float32)
    return weights


@pytest.fixture(scope="session")
def twin(twin_module, released_weights):
    """The twin with these weights, in eval mode. Tests must leave it unchanged."""
    return twin_module.load_twin(released_weights)


@pytest.fixture(scope="session")
def make_shallow_twin(twin_module, released_weights):
    """A function that builds a twin, in eval mode, of the first `depth` blocks of each layer."""

    def make(depth: int = 1):
        with twin_module.torch.device("meta"):
            model = twin_module.PairModel(4 * (depth,)).eval()
        tensors = {name: twin_module.torch.from_numpy(released_weights[name].copy()) for name in model.state_dict()}
        model.load_state_dict(tensors, assign=True)
        return model

    return make


@pytest.fixture(scope="module")
def shallow_resnet():
    """Makes our ResNet-101 have one block a layer until the module ends: every kind of layer, compiled fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.DEPTHS, "resnet101", (1, 1, 1, 1))
        yield


@pytest.fixture(scope="module")
def shallow_twin(make_shallow_twin, shallow_resnet):
    """A twin with one block a layer, as our ResNet-101 has then. Tests must leave it unchanged."""
    return make_shallow_twin()


@pytest.fixture(scope="module")
def shallow_weights(twin_module, shallow_twin) -> dict[str, np.ndarray]:
    """The shallow twin's state dict. Tests must leave it unchanged."""
    return twin_module.to_numpy(shallow_twin.state_dict())


@pytest.fixture(scope="session")
def reference() -> Path:
    """A folder with `case.py`, `released_state_dict.json` and `case_97x97.npz`."""
    folder = os.environ.get("COSNET_REFERENCE")
    if not folder:
        pytest.skip("COSNET_REFERENCE names no folder with a worked case of the released model")
    return Path(folder)


@pytest.fixture(scope="session")
def case(reference):
    """The module that draws the worked case's weights and inputs."""
    spec = importlib.util.spec_from_file_location("case", reference / "case.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    """DAVIS-2016 with the sequences bear (4 frames) and cows (3) for training and camel (3) for validation."""
    return make_davis(tmp_path / "DAVIS", {"bear": 4, "cows": 3}, {"camel": 3})
