"""Many videos on Ray: all are done once, also where a worker is killed, and as one process does them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cosnet_jax import cli
from cosnet_jax.commands.segment import segment
from cosnet_jax.commands.segment_on_ray import plan_workers
from cosnet_jax.errors import InputError
from cosnet_jax.video.writer import VideoWriter

pytest.importorskip("ray")

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]
CLIPS = 20


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """20 clips of 4 frames, a square of a colour of its own over noise."""
    folder = tmp_path_factory.mktemp("corpus")
    random = np.random.default_rng(0)
    for number in range(CLIPS):
        frames = random.integers(0, 60, (4, 48, 64, 3)).astype(np.uint8)
        for step, frame in enumerate(frames):
            frame[8:28, 4 + 8 * step : 24 + 8 * step] += random.integers(60, 190, 3).astype(np.uint8)
        with VideoWriter(folder / f"clip{number}.mp4", (48, 64), 24) as writer:
            for frame in frames:
                writer.write(frame)
    return folder


def start(inputs: list[Path], output: Path, checkpoint: Path, *options: str) -> subprocess.Popen:
    """Starts `cosnet segment` on Ray in a process of its own, in the folder of the checkpoint's folder."""
    command = [sys.executable, "-m", "cosnet_jax", "segment", *inputs, "--output", output, "--checkpoint"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [*command, checkpoint.name, "--no-overlay", *options], cwd=checkpoint.parent, env=environment, **pipes
    )


def workers() -> list[int]:
    """The process numbers of the workers that Ray runs on this machine."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.joinpath("cmdline").read_bytes().startswith(b"ray::Worker"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """The images and cut-outs below a folder."""
    paths = [path for pattern in ("*.png", "cutout.mp4") for path in folder.rglob(pattern)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_a_corpus_on_two_workers_one_of_them_killed_is_done_once_and_as_one_process_does_it(
    checkpoint, corpus, tmp_path
):
    (corpus / "broken.mp4").write_bytes(b"no video")
    picture = checkpoint.parent / "sky.png"  # workers start in another working folder
    Image.new("RGB", (64, 48), (90, 140, 220)).save(picture)
    options = ["--ray", "local", "--ray-workers", "2", "--background", picture.name, "--feather", "2"]
    process = start([corpus], tmp_path / "ray", checkpoint, *options)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("ray/*/result.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    started = workers()
    assert len(started) == 2, process.communicate(timeout=60)
    os.kill(started[0], signal.SIGKILL)
    output, error = process.communicate(timeout=180)
    (corpus / "broken.mp4").unlink()
    assert process.returncode == 1, (output, error)
    assert re.search(r"^error: .*broken\.mp4 failed: .*broken\.mp4", error, re.MULTILINE), error

    summary = json.loads((tmp_path / "ray" / "summary.json").read_text())
    assert (summary["done"] + summary["found"], summary["failed"]) == (CLIPS, 1)
    assert summary["found"] <= 1  # the killed worker may have finished its video and told nobody

    segment([corpus], tmp_path / "alone", checkpoint, save_overlay=False, background=str(picture), feather=2.0)
    assert contents(tmp_path / "ray") == contents(tmp_path / "alone")
    assert not list(tmp_path.rglob(".*.part"))
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


def test_wrong_settings_are_said_before_ray_starts(checkpoint, corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ray.init", lambda *_, **__: pytest.fail("Ray was started"))
    with pytest.raises(InputError, match="fusion is 'mean'"):
        segment([corpus], tmp_path, checkpoint, ray="local", fusion="mean")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit):
        cli.main(["segment", str(corpus), "--output", str(tmp_path), "--checkpoint", str(checkpoint), "--ray", "local"])
    assert "`cosnet segment` needs ray: pip install 'cosnet_jax[ray]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("machines", "num_workers", "plan"),
    [
        ([{"CPU": 6}, {"CPU": 6}], None, (2, {"num_cpus": 4})),  # each worker within one machine
        ([{}, {"CPU": 6}, {"CPU": 6}], 5, (5, {"num_cpus": 2})),  # the first is a head that does no work
        ([{"CPU": 2}], 9, (2, {"num_cpus": 1})),  # no more than there are cores
        ([{"CPU": 64}, {"CPU": 8, "GPU": 4}], None, (4, {"num_gpus": 1})),
        ([{"CPU": 4}, {"CPU": 208, "TPU": 4}], 3, (3, {"resources": {"TPU": 1}})),
    ],
)
def test_workers_fit_the_machines(machines, num_workers, plan):
    assert plan_workers(machines, num_workers) == plan


def test_a_cluster_without_anything_for_a_worker_is_refused():
    with pytest.raises(InputError, match="no machine of the cluster has CPUs, GPUs or TPUs"):
        plan_workers([{"memory": 1e9}], None)
