"""The README and docs/ run: every command, in a smoke form, every Python snippet as it stands, every link."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from raw_datasets import make_color_sequence, make_davis, make_stills, make_videos, save
from tiny_network import make_tiny, write_checkpoint

from configs import base
from cosnet_jax import cli
from cosnet_jax.checkpoints.load import load_checkpoint, load_checkpoint_for
from cosnet_jax.commands.evaluate import evaluate
from cosnet_jax.config import read_config
from cosnet_jax.data.prepare import BUILDERS, prepare
from cosnet_jax.data.sequences import open_sequences
from cosnet_jax.evaluation.protocols import PROTOCOLS, protocol_of
from cosnet_jax.evaluation.score import check_scoring
from cosnet_jax.models.build import init_variables
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.training.loop import train
from cosnet_jax.video.writer import VideoWriter

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "cosnet_jax/assets/README.md", "docs/*.md")
PROGRAMS = ("cosnet", "python", "make", "git", "experiments/davis16_lite.sh")
NOT_RUN = ("git clone", "cd ", "experiments/davis16_lite.sh")  # the last one trains for hours
# What would take minutes here, and the test that runs it.
ELSEWHERE = {
    "cosnet convert": "tests/test_package.py",
    "cosnet export": "tests/test_package.py",
    "cosnet compare": "tests/test_package.py",
    "cosnet explain": "tests/commands/test_explain.py",
    "cosnet app": "tests/commands/test_app.py",
    "cosnet live": "tests/commands/test_live.py",
    "cosnet segment clip.mp4 --output out/clip --keep": "tests/commands/test_segment.py",
    "cosnet segment FOLDER --output OUT --ray": "tests/commands/test_segment_on_ray.py",
    "python train.py --config=configs/davis16.py --workdir=out/two": "tests/training/test_several_processes.py",
}

pytestmark = [
    pytest.mark.process,
    pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning"),  # of ml_collections
]


def pages() -> list[Path]:
    return sorted(path for pattern in PAGES for path in ROOT.glob(pattern))


def find_commands(page: Path) -> list[str]:
    """The commands of a page: indented lines that begin with a program, and those that they continue in."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    text = re.sub(r"\\\n\s*", "", text)
    lines = [line.split("  #")[0].strip() for line in text.splitlines() if line.startswith("    ")]
    commands = [part for line in lines if line.split(" ")[0] in PROGRAMS for part in line.split(" && ")]
    return [command for command in commands if not command.startswith(NOT_RUN)]


def spell_out(command: str) -> list[list[str]]:
    """All ways to write a command: without and with its [optional] parts, with either of its (a | b)."""
    parts = re.split(r"(\[[^]]*\]|\([^)]*\))", command)
    choices = [["", part[1:-1]] if part[:1] == "[" else part.strip("()").split(" | ") for part in parts]
    ways = [tuple(choice) for choice in itertools.product(*choices)]
    return [shlex.split("".join(way)) for way in (ways[0], ways[-1])][: len(set(ways))]


COMMANDS = sorted({command for page in pages() for command in find_commands(page)})


def run_snippet(page: str, number: int = 0) -> dict[str, Any]:
    """Runs a Python block of a page; returns its variables."""
    snippet = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)[number]
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(snippet, page, "exec", dont_inherit=True), names)
    return names


def smoke(path: str, overrides: list[str], folder: Path) -> base.ConfigDict:
    """The configuration of a command in its smoke form: four steps of a tiny network, from tiny initial weights."""
    config = read_config(path, overrides)
    base.make_smoke(config)
    config.data.data_dir = str(folder / "prepared")
    config.batch_size = 4  # the tests have four devices
    if config.init.endswith(".npz"):
        load_checkpoint_for(config, config.init)  # would do for the network as it is
        config.init = "out/lite"
    config.model.update({"output_stride": 8, "low_level": 0})
    return make_tiny(config)


@pytest.fixture(scope="module")
def prototype(tmp_path_factory) -> Path:
    """A folder in which the names of the documentation are files: datasets, a video, trainings."""
    folder = tmp_path_factory.mktemp("documentation")
    make_davis(folder / "DAVIS", {"bear": 3, "bus": 3}, {"cows": 4})
    make_stills(folder / "MSRA10K_Imgs_GT" / "Imgs", folder / "MSRA10K_Imgs_GT" / "Imgs", 4)
    make_stills(folder / "DUT-OMRON" / "DUT-OMRON-image", folder / "DUT-OMRON" / "pixelwiseGT-new-PNG", 4)
    for name in ("VIDEO1", "VIDEO2", "VIDEO3"):
        make_videos(folder / "SET", {name: (3, range(3))}, start=int(name[-1]))
    make_color_sequence(folder / "FBMS" / "Testset" / "camel01")
    frames = np.random.default_rng(0).integers(0, 256, (12, 64, 96, 3), np.uint8)
    with VideoWriter(folder / "clip.mp4", (64, 96), 25) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame)
            save(folder / "VIDEO" / f"{number:05d}.png", frame)
    for name, source in (("davis16", "DAVIS"), ("msra10k", "MSRA10K_Imgs_GT"), ("dut_omron", "DUT-OMRON")):
        prepare(name, str(folder / source), str(folder / "prepared"))
    config = smoke(f"{ROOT}/configs/davis16.py", [], folder)
    write_checkpoint(config, folder / "out" / "davis16" / "checkpoints", step=1)
    for copy in ("out/lite", "BACKBONE"):
        shutil.copytree(folder / "out" / "davis16", folder / copy)
    shutil.copytree(folder / "DAVIS" / "Annotations" / "480p" / "cows", folder / "FOLDER_OF_MASKS" / "cows")
    for name in ("configs", "cosnet_jax"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def here(prototype, tmp_path, monkeypatch) -> Path:
    """The prototype for one test, as its working directory."""
    folder = tmp_path / "here"
    shutil.copytree(prototype, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def run_recipe(name: str, arguments: list[str], here: Path) -> None:
    """Trains or evaluates as the flags say, in a smoke form."""
    flags = dict(argument.removeprefix("--").split("=", 1) for argument in arguments if "--config." not in argument)
    overrides = [argument for argument in arguments if argument.startswith("--config.")]
    config = smoke(flags.pop("config"), overrides, here)
    workdir = Path(flags.pop("workdir"))
    if name == "train":
        assert not flags
        shutil.rmtree(workdir, ignore_errors=True)
        assert not train(config, workdir)
        assert (workdir / "checkpoints").is_dir()
    else:
        evaluate(config, workdir, flags.pop("checkpoint", None), flags.pop("predictions", None))
        assert not flags
        assert (workdir / "report.html").is_file()


@pytest.mark.parametrize(
    "command", [pytest.param(each, marks=pytest.mark.slow) if " train" in each else each for each in COMMANDS]
)
def test_commands_run(command, here, capsys):
    for beginning, test in ELSEWHERE.items():
        if command.startswith(beginning):
            assert (ROOT / test).is_file()
            return
    for program, *arguments in spell_out(command):
        if program == "make":
            subprocess.run([program, "--dry-run", *arguments], cwd=ROOT, check=True, capture_output=True)
        elif program == "python" or arguments[0] in ("train", "evaluate"):
            run_recipe(arguments[0].removesuffix(".py"), arguments[1:], here)
        else:  # a tiny network takes the place of the one in the package
            tiny = ["--checkpoint", "out/lite"] if arguments[0] == "segment" else []
            assert cli.main([*arguments, *tiny]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_settings_in_sentences_exist(page):
    prose = re.sub(r"```.*?```|^    .*?$", "", page.read_text(), flags=re.S | re.M)
    setting = r"(?:--|`)config\.(?!json|py)([a-z_.0-9]+)(?:\{(.*?)\})?(=[^`\s]+)?"  # {...}: several endings
    for key, endings, value in re.findall(setting, prose):
        for ending in endings.split(","):
            found = read_config(f"{ROOT}/configs/davis16.py", [f"--config.{key}{value}"] if value else [])
            for name in (key + ending).split("."):
                assert name in found, key + ending
                found = found[name]


def test_the_examples_of_an_own_training_run(here):
    names = run_snippet("docs/training.md")
    assert np.mean(names["losses"][-5:]) < 0.8 * np.mean(names["losses"][:5])
    assert names["maps"].shape == (2, 64, 64)
    before = load_checkpoint("davis16_lite")[0]["params"]
    names = run_snippet("docs/training.md", 1)
    after = load_checkpoint("mine.safetensors")[0]["params"]
    jax.tree.map(np.testing.assert_array_equal, after["encoder"], before["encoder"])
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (after["head_a"], before["head_a"])), strict=True))


def test_the_readmes_snippet_runs(here):
    assert run_snippet("README.md")["mask"].shape == (64, 96)


def test_the_documented_dataset_is_read(here, monkeypatch):
    raw = here / "segtrack"
    for name in ("1", "2"):
        make_davis(raw / name, {"bird": 3}, {})
    (raw / "1" / "JPEGImages" / "480p").rename(raw / "JPEGImages")
    for name in ("1", "2"):
        (raw / "GroundTruth" / "bird").mkdir(parents=True, exist_ok=True)
        (raw / name / "Annotations" / "480p" / "bird").rename(raw / "GroundTruth" / "bird" / name)
    for known, alike in ((BUILDERS, "davis16"), (PROTOCOLS, "videos")):
        monkeypatch.setitem(known, "segtrack", known[alike])  # put back in the end
    run_snippet("docs/adding.md")
    config = base.get_config().data
    config.data_dir = str(here / "prepared")
    prepare("segtrack", str(raw), config.data_dir)
    for given in ({}, {"segtrack": {"source": str(raw)}}):  # a configuration of before, and one with its source
        with config.unlocked():
            config.update(given)
        (sequence,) = open_sequences("segtrack", "train", config)
        assert (sequence.name, len(sequence)) == ("bird", 3)
    check_scoring([sequence], protocol_of("segtrack"), ("J", "F"))


def test_the_documented_backbone_has_the_papers_parameters():
    backbone = run_snippet("docs/adding.md", 1)["ConvNeXt"]()
    model = COSNet(backbone, channels=8, head_features=4, aspp_depth=4, low_level=4, detail=4)
    variables = jax.eval_shape(lambda: init_variables(model, 0))
    body = jax.tree.leaves(variables["params"]["encoder"]["body"])
    assert sum(leaf.size for leaf in body) == 28_589_128 - 770_536  # torchvision's, without the classifier
    images = jax.ShapeDtypeStruct((1, 64, 96, 3), jax.numpy.uint8)
    features = jax.eval_shape(lambda v, x: model.apply(v, x, method="encode"), variables, images)
    assert features.shape == (1, 8, 12, 8)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target
