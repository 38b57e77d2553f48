"""The wheel: what it holds, and that its commands run where there is no checkout."""

from __future__ import annotations

import email
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from compilation import compilation_flags
from PIL import Image
from safetensors.numpy import save_file
from tiny_network import random_variables

from configs import davis16_released
from cosnet_jax.interop.names import FORMATS, to_torch
from cosnet_jax.interop.pth import read_state_dict
from cosnet_jax.models.build import build_model

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "requirements", "cosnet_jax", "configs", "tests", "train.py")
# Modules of the extras.
EXTRAS = ("gradio", "grain", "jinja2", "optax", "pydensecrf", "tensorboardX", "tensorflow_datasets")


def pip(*arguments) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The package's wheel, built from a copy because setuptools leaves its build folders beside the sources."""
    sources, folder = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, sources)
    pip("wheel", sources, "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """A folder with the installed wheel alone."""
    folder = tmp_path_factory.mktemp("site")
    pip("install", wheel, "--no-deps", "--no-index", "--target", folder)
    return folder


@pytest.fixture(scope="module")
def run(site, tmp_path_factory):
    """Runs a program in an empty folder. The wheel wins over the checkout, and the modules of the extras are absent."""
    absent = tmp_path_factory.mktemp("absent")
    for name in EXTRAS:
        (absent / f"{name}.py").write_text(f"raise ModuleNotFoundError('absent', name={name!r})\n")

    def run(*arguments, extras: bool = False, status: int = 0) -> str:
        path = [site] if extras else [site, absent]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "XLA_FLAGS": compilation_flags()}
        folder = tmp_path_factory.mktemp("empty")
        done = subprocess.run(map(str, arguments), cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout

    return run


@pytest.fixture(scope="module")
def cosnet(site, run):
    """Runs the program `cosnet`."""
    return lambda *arguments, **options: run(site / "bin" / "cosnet", *arguments, **options)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A folder of four frames: a square moves over noise."""
    folder = tmp_path_factory.mktemp("clip")
    images = np.random.default_rng(0).integers(0, 60, (4, 70, 90, 3)).astype(np.uint8)
    for number, image in enumerate(images):
        image[20:50, 10 + 8 * number : 40 + 8 * number] += 150
        Image.fromarray(image).save(folder / f"{number:05d}.png")
    return folder


def requirements(name: str) -> set[str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    package = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    files = (ROOT / "cosnet_jax").rglob("*")
    expected = {str(path.relative_to(ROOT)) for path in files if path.is_file() and path.parent.name != "__pycache__"}
    expected |= {f"cosnet_jax/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    assert package == expected
    data = {
        "py.typed",
        "report/page.html",
        "report/base.html",
        "assets/davis16_lite.safetensors",
        "assets/sample_cup.webp",
    }
    assert data <= {name[11:] for name in package}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheels_requirements_are_those_of_requirements_txt(wheel):
    archive = zipfile.ZipFile(wheel)
    metadata = email.message_from_bytes(archive.read(next(n for n in archive.namelist() if n.endswith("METADATA"))))
    extras = metadata.get_all("Provides-Extra")
    assert sorted(extras) == ["aot", "app", "crf", "dev", "onnx", "ray", "torch", "train"]

    def name_and_bounds(line):
        name, bounds = re.match(r"([\w-]+)([^;]*)", line).groups()
        return name.lower(), frozenset(bounds.strip().split(","))

    declared = {extra: set() for extra in ("base", *extras)}
    for line in metadata.get_all("Requires-Dist"):
        extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        declared[extra[1] if extra else "base"].add(name_and_bounds(line))
    assert declared == {extra: {name_and_bounds(line) for line in requirements(extra)} for extra in declared}
    included = re.findall(r"-r requirements/(\w+)\.txt", (ROOT / "requirements.txt").read_text())
    assert included == ["base", "train", "crf", "ray"]
    assert len(set.union(*map(requirements, included))) == sum(len(requirements(name)) for name in included)


def test_the_program_is_the_wheels_and_finds_no_checkout(run, cosnet, site):
    code = "import cosnet_jax; print(cosnet_jax.__file__)"
    assert Path(run(sys.executable, "-c", code).strip()) == site / "cosnet_jax" / "__init__.py"
    code = "import importlib.util as util; print([util.find_spec(n) for n in ('configs', 'tests', 'train')])"
    assert run(sys.executable, "-c", code).strip() == "[None, None, None]"
    usage = cosnet("--help")
    assert usage.startswith("usage: cosnet ")
    assert run(sys.executable, "-m", "cosnet_jax", "--help") == usage


@pytest.mark.parametrize(("command", "extra"), [("prepare", "train"), ("ablate", "train"), ("app", "app")])
def test_a_command_without_its_extra_is_one_line(cosnet, command, extra):
    ablate = ["--config=synthetic:smoke", "--workdir=out", "--checkpoint=davis16_lite"]
    arguments = {"prepare": ["davis16"], "ablate": ablate}.get(command, [])
    message = cosnet(command, *arguments, status=1)
    assert re.fullmatch(rf"error: `cosnet {command}` needs \w+: pip install 'cosnet_jax\[{extra}\]'\n", message)


def test_segment_runs_with_the_shipped_model(cosnet, clip, tmp_path):
    cosnet("segment", clip, "--output", tmp_path, "--size", 65, 65, "--num-references", 2)
    masks = sorted((tmp_path / "masks").rglob("*.png"))
    assert len(masks) == 4
    assert all(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED).shape == (70, 90) for mask in masks)


@pytest.mark.slow
def test_a_shipped_configuration_trains_and_is_evaluated(cosnet, clip, tmp_path):
    config, work = "--config=synthetic:smoke", f"--workdir={tmp_path / 'work'}"
    cosnet("train", config, work, extras=True)
    cosnet("evaluate", config, work, f"--checkpoint={tmp_path / 'work'}", extras=True)
    assert (tmp_path / "work" / "report.html").is_file()
    cosnet("export", tmp_path / "work", "--output", tmp_path / "mine.safetensors")
    cosnet("segment", clip, "--output", tmp_path / "out", "--checkpoint", tmp_path / "mine.safetensors")
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 4


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")
def test_weights_survive_convert_and_export(cosnet, tmp_path):
    model = build_model(davis16_released.get_config().model)
    given = to_torch(random_variables(model), FORMATS["released"])
    save_file(given, tmp_path / "released.safetensors")
    cosnet("convert", tmp_path / "released.safetensors", "--output", tmp_path / "checkpoint")
    cosnet("export", tmp_path / "checkpoint", "--output", tmp_path / "back.pth", extras=True)
    again = read_state_dict(tmp_path / "back.pth")
    assert again.keys() == given.keys()
    for name, array in given.items():
        np.testing.assert_array_equal(again[name], array)
    assert "agrees with PyTorch" in cosnet("compare", tmp_path / "back.pth", "--size", 33, 33, extras=True)
