"""Settings for all tests, and what many of them share: a tiny network on disk and a short video."""

from __future__ import annotations

import gc
import os
import signal

from compilation import compilation_flags

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = compilation_flags(devices=4)
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
from browser import open_browser
from PIL import Image
from tiny_network import make_tiny, write_checkpoint

from configs import synthetic

# Traced programs are many objects; a tenth of the time went into looking for garbage among them.
gc.set_threshold(50_000, 50, 50)


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
