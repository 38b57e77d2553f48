"""Many videos on Ray: all are done once, also where a worker is killed, and as one process does them."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from loopback import free_port
from PIL import Image

from cosnet_jax import cli
from cosnet_jax.commands import segment_on_ray
from cosnet_jax.commands.segment import segment
from cosnet_jax.commands.segment_on_ray import ATTEMPTS, START_ATTEMPTS, Outcome, Worker, plan_workers
from cosnet_jax.commands.segment_video import SegmentSettings
from cosnet_jax.errors import InputError
from cosnet_jax.files import temporary_name
from cosnet_jax.inference.provenance import digest_of_code
from cosnet_jax.video.writer import VideoWriter

pytest.importorskip("ray")
from ray import exceptions
from ray_stand_in import NEVER, RayStandIn, task_error

ROOT = Path(__file__).parents[2]
CLIPS = 40


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """40 clips of 4 frames, a square of a colour of its own over noise."""
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
    """The masks, contact sheets, cut-outs and run lengths below a folder."""
    paths = [path for pattern in ("*.png", "cutout.mp4", "coco.json") for path in folder.rglob(pattern)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_a_corpus_on_two_workers_one_of_them_killed_is_done_once_and_as_one_process_does_it(
    checkpoint, corpus, tmp_path
):
    (corpus / "broken.mp4").write_bytes(b"no video")
    picture = checkpoint.parent / "sky.png"  # workers have another working folder
    Image.new("RGB", (64, 48), (90, 140, 220)).save(picture)
    options = ["--background", picture.name, "--feather", "2", "--coco"]
    process = start([corpus], tmp_path / "ray", checkpoint, "--ray", "local", "--ray-workers", "2", *options)
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
    videos = {Path(video["input"]).name: video for video in summary["videos"]}
    assert sorted(videos) == sorted(["broken.mp4", *(f"clip{number}.mp4" for number in range(CLIPS))])
    assert sorted(video["attempts"] for video in videos.values()) in ([1] * CLIPS + [2], [1] * (CLIPS + 1))
    assert all(video["frames"] == 4 for name, video in videos.items() if name != "broken.mp4")

    settings = {"background": str(picture), "feather": 2.0, "save_coco": True}
    segment([corpus], tmp_path / "alone", checkpoint, save_overlay=False, **settings)
    assert contents(tmp_path / "ray") == contents(tmp_path / "alone")
    assert not list(tmp_path.rglob(".*.part"))
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
def test_a_cluster_that_runs_finds_what_is_done_and_its_gpus_are_counted(checkpoint, corpus, tmp_path, monkeypatch):
    port = free_port()
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    begin = [*ray, "start", "--head", f"--port={port}", "--num-cpus=2", "--num-gpus=1", "--include-dashboard=false"]
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # whoever uses a cluster knows its token
    subprocess.run(begin, check=True, capture_output=True, timeout=120)
    try:
        segment([corpus / "clip0.mp4", corpus / "clip1.mp4"], tmp_path, checkpoint, save_overlay=False)
        given = [corpus / f"clip{number}.mp4" for number in range(3)]
        process = start(given, tmp_path, checkpoint, "--ray", f"127.0.0.1:{port}")
        _, error = process.communicate(timeout=120)
    finally:
        subprocess.run([*ray, "stop", "--force"], check=True, capture_output=True, timeout=120)
    assert process.returncode == 0, error
    assert "videos: done in " in error
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["done"], summary["found"], summary["failed"]) == (1, 2, 0)


def test_wrong_settings_are_said_before_ray_starts(checkpoint, corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ray.init", lambda *_, **__: pytest.fail("Ray was started"))
    with pytest.raises(InputError, match="fusion is 'mean'"):
        segment([corpus], tmp_path, checkpoint, ray="local", fusion="mean")
    with pytest.raises(InputError, match="ray-workers is -1; expected 0 or more"):
        segment([corpus], tmp_path, checkpoint, ray="local", num_workers=-1)
    with pytest.raises(InputError, match="--ray-workers is 2; it needs --ray"):
        segment([corpus], tmp_path, checkpoint, num_workers=2)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit):
        cli.main(["segment", str(corpus), "--output", str(tmp_path), "--checkpoint", str(checkpoint), "--ray", "local"])
    assert "--ray needs the package ray: pip install 'cosnet_jax[ray]'" in capsys.readouterr().err


ONE_GPU, ONE_TPU = {"num_gpus": 1}, {"resources": {"TPU": 1}}


@pytest.mark.parametrize(
    ("machines", "num_workers", "count", "cores", "accelerator"),
    [
        ([{"CPU": 6}, {"CPU": 6}], 0, 2, 4, {}),  # each worker within one machine
        ([{"CPU": 6}, {"CPU": 6}], 5, 6, 2, {}),
        ([{"CPU": 2}], 9, 2, 1, {}),  # no more than there are cores
        ([{}, {"CPU": 6}], 0, 1, 4, {}),  # a head that does no work
        ([{"CPU": 64}, {"CPU": 8, "GPU": 4}], 0, 4, 2, ONE_GPU),  # the head has no GPU
        ([{"CPU": 16, "GPU": 8}, {"CPU": 4, "GPU": 4}], 6, 6, 1, ONE_GPU),
        ([{"CPU": 4}, {"CPU": 208, "TPU": 4, "TPU-v5litepod-4-head": 1}], 0, 4, 52, ONE_TPU),
        ([{"GPU": 2}], 0, 2, 0, ONE_GPU),
    ],
)
def test_workers_fit_the_machines(machines, num_workers, count, cores, accelerator):
    asked = {}
    nodes = [{"Alive": True, "Resources": {name: float(number) for name, number in each.items()}} for each in machines]
    nodes.append({"Alive": False, "Resources": {}})
    ray = SimpleNamespace(nodes=lambda: nodes, remote=lambda **given: asked.update(given) or (lambda _: None))
    found, _ = plan_workers(ray, SegmentSettings(), num_workers)
    assert (found, asked) == (min(count, num_workers or count), {"num_cpus": cores, **accelerator})


@pytest.mark.parametrize("nodes", [[], [{"Alive": True, "Resources": {"memory": 1e9}}]])
def test_a_cluster_without_anything_for_a_worker_is_refused(nodes):
    with pytest.raises(InputError, match=rf"the {len(nodes)} machine\(s\) of the cluster have no CPUs, GPUs or TPUs"):
        plan_workers(SimpleNamespace(nodes=lambda: nodes), SegmentSettings(), 0)


@pytest.mark.parametrize("accelerated", [False, True])
def test_a_worker_without_an_accelerator_of_its_own_leaves_those_of_the_machine_alone(accelerated, monkeypatch):
    called = []
    monkeypatch.setenv("NPROC", "")
    monkeypatch.setattr(segment_on_ray, "use_cpu", lambda: called.append("use_cpu"))
    monkeypatch.setattr(segment_on_ray, "VideoSegmenter", lambda _: called.append("network"))
    Worker().start(SegmentSettings(), 3, accelerated, digest_of_code())
    assert called == (["network"] if accelerated else ["use_cpu", "network"])
    assert os.environ["NPROC"] == "3"


def run_on(
    monkeypatch, ray: RayStandIn, videos: int, num_workers: int = 2, output: Path = Path("out")
) -> dict[str, Outcome]:
    """Segments videos "0", "1", ... on a stand-in for Ray; returns the outcomes by video."""
    monkeypatch.setattr(segment_on_ray, "start_ray", lambda _: ray)
    jobs = [(Path(str(number)), output / str(number)) for number in range(videos)]
    outcomes = list(segment_on_ray.segment_on_ray(jobs, SegmentSettings(), "local", num_workers))
    assert ray.is_shut_down and len(outcomes) == len({outcome.input for outcome in outcomes}) == videos
    return {outcome.input: outcome for outcome in outcomes}


def done(path: Path, folder: Path) -> Outcome:
    return Outcome(str(path), str(folder), "done", frames=4)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.OutOfMemoryError("killed by the memory monitor"),
        exceptions.ActorDiedError(),
        exceptions.ActorUnavailableError("no answer", b"1" * 16),
        exceptions.NodeDiedError("gone"),
        exceptions.ObjectLostError("00", None, ""),
        exceptions.ActorUnschedulableError("no room"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lost_worker_is_killed_and_replaced_and_its_video_done_by_another(error, monkeypatch):
    def behave(number, method, *job):
        return error if (number, method) == (0, "work") else done(*job) if method == "work" else None

    ray = RayStandIn(behave)
    outcomes = run_on(monkeypatch, ray, videos=5)
    assert {outcome.status for outcome in outcomes.values()} == {"done"}
    assert sorted(outcome.attempts for outcome in outcomes.values()) == [1, 1, 1, 1, 2]
    assert ray.killed == [0]
    assert {number for number, method, _ in ray.calls if method == "work"} == {0, 1, 2}


def test_an_error_of_a_video_is_its_own_and_its_worker_goes_on(monkeypatch):
    def behave(_, method, *job):
        return (task_error(OSError("disk full")) if job[0].name == "1" else done(*job)) if method == "work" else None

    ray = RayStandIn(behave)
    outcomes = run_on(monkeypatch, ray, videos=3, num_workers=1)
    assert [outcomes[name].status for name in "012"] == ["done", "failed", "done"]
    assert (outcomes["1"].attempts, outcomes["1"].error) == (1, "OSError('disk full')")
    assert not ray.killed


def begin(folder: Path) -> None:
    """Leaves what a worker leaves that is killed while it writes."""
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    for path in (folder / "masks" / "00000.png", folder / "overlay.mp4"):
        temporary_name(path).touch()


def test_a_video_that_kills_every_worker_is_given_up_and_the_others_are_done(monkeypatch, tmp_path):
    def behave(_, method, *job):
        if method == "work" and job[0].name == "1":
            begin(job[1])
            return exceptions.ActorDiedError()
        return done(*job) if method == "work" else None

    ray = RayStandIn(behave)
    outcomes = run_on(monkeypatch, ray, videos=4, output=tmp_path)
    assert [outcomes[name].status for name in "0123"] == ["done", "failed", "done", "done"]
    assert outcomes["1"].attempts == len(ray.killed) == ATTEMPTS == 3
    assert outcomes["1"].error.startswith("its worker was lost 3 times (ActorDiedError: The actor died unexpectedly")
    assert not list(tmp_path.rglob(".*.part"))


def test_an_interrupted_run_leaves_a_summary_and_neither_workers_nor_unfinished_files(
    checkpoint, frames, monkeypatch, tmp_path
):
    clips = [tmp_path / f"clip{number}" for number in range(4)]
    for clip in clips:
        clip.mkdir()
        Image.fromarray(frames[0]).save(clip / "0.png")

    def behave(_, method, *job):
        if method == "work" and job[0] != clips[0]:
            begin(job[1])
            return NEVER
        return done(*job) if method == "work" else None

    class Interrupted(RayStandIn):
        def wait(self, results, **settings):
            if self.killed or any(result.value is not NEVER for result in results):
                return super().wait(results, **settings)
            raise KeyboardInterrupt

    ray, output = Interrupted(behave), tmp_path / "out"
    monkeypatch.setattr(segment_on_ray, "start_ray", lambda _: ray)
    with pytest.raises(KeyboardInterrupt):
        segment(clips, output, checkpoint, ray="local", num_workers=2)
    summary = json.loads((output / "summary.json").read_text())
    assert (summary["done"], [Path(video["input"]).name for video in summary["videos"]]) == (1, ["clip0"])
    assert sorted(ray.killed) == [0, 1] and ray.is_shut_down
    assert (output / "clip1" / "masks").is_dir() and not list(output.rglob(".*.part"))


def test_a_worker_that_the_cluster_has_no_room_for_gets_no_video(monkeypatch):
    """The machine of the first worker is lost with it; the one in its place stays pending."""

    def behave(number, method, *job):
        if method == "start":
            return NEVER if number == 2 else None
        return exceptions.NodeDiedError("gone") if number == 0 else done(*job)

    ray = RayStandIn(behave)
    outcomes = run_on(monkeypatch, ray, videos=4)
    assert {outcome.status for outcome in outcomes.values()} == {"done"}
    assert [method for number, method, _ in ray.calls if number == 2] == ["start"]


def test_a_run_ends_when_no_worker_starts(monkeypatch):
    ray = RayStandIn(lambda *_: NEVER)
    with pytest.raises(InputError, match=r"no worker started within 10 minutes; expected room for one in the cluster"):
        run_on(monkeypatch, ray, videos=3)
    assert ray.is_shut_down
    ray = RayStandIn(lambda number, method, *job: None if method == "start" and number < 1 else NEVER)
    with pytest.raises(AssertionError, match="it would wait for ever"):  # while a worker is at work there is no limit
        run_on(monkeypatch, ray, videos=3)


def test_a_run_ends_when_workers_cannot_start(monkeypatch):
    missing = InputError("/data/model: there is no checkpoint; expected one")
    ray = RayStandIn(lambda *_: task_error(missing))
    with pytest.raises(InputError, match=r"--ray: 3 workers in a row failed to start: /data/model: there is no check"):
        run_on(monkeypatch, ray, videos=9, num_workers=1)
    assert [method for _, method, _ in ray.calls] == ["start"] * START_ATTEMPTS
    absent = RuntimeError("The actor failed to import:\n\nModuleNotFoundError: No module named 'cosnet_jax'")
    with pytest.raises(InputError, match=r"failed to start: .*ModuleNotFoundError: No module named 'cosnet_jax'$"):
        run_on(monkeypatch, RayStandIn(lambda *_: task_error(absent)), videos=9, num_workers=2)


def test_a_machine_on_which_no_worker_starts_does_not_stop_the_others(monkeypatch):
    def behave(number, method, *job):
        if method == "start":
            return exceptions.RuntimeEnvSetupError("no package") if number else None
        return done(*job)

    ray = RayStandIn(behave)
    outcomes = run_on(monkeypatch, ray, videos=6)
    assert {outcome.status for outcome in outcomes.values()} == {"done"}
    assert {number for number, method, _ in ray.calls if method == "work"} == {0}


def test_a_worker_with_another_code_refuses_to_start():
    with pytest.raises(InputError, match="has another cosnet_jax; expected the same code on all machines"):
        Worker().start(SegmentSettings(), 1, False, "0123")
