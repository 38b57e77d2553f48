"""`cosnet segment` and `evaluate.py` to hurt, and the proof that the next run makes what is missing, and only that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from ml_collections import ConfigDict
from raw_datasets import draw_image, save
from tiny_network import tiny_synthetic

import evaluate
from cosnet_jax.commands.segment import segment
from cosnet_jax.commands.segment_video import UNFINISHED
from cosnet_jax.evaluation import score
from cosnet_jax.inference import sequence_masks
from cosnet_jax.video import find

CLIPS, FRAMES = 4, 3
TRAINED = Path("undisturbed") / "train"  # the training whose network segments
REPORT = "report.html"  # the one file that says where it lies
Work = Callable[[Path, Path], object]


def evaluation_config() -> ConfigDict:
    """The network of `training.smoke_config`, and a few short videos."""
    config = tiny_synthetic()
    config.evaluation.sample = False  # of the shipped model
    config.inference.num_references = 2
    config.data.synthetic.update({"num_val_videos": CLIPS, "num_frames": FRAMES})
    return config


def make_inputs(folder: Path) -> None:
    """Writes clips as folders of frames."""
    for clip in range(CLIPS):
        make_clip(folder / "clips" / f"clip{clip}", clip)


def make_clip(folder: Path, number: int) -> None:
    """Writes a clip as a folder of frames."""
    for frame in range(FRAMES):
        save(folder / f"{frame}.png", draw_image(10 * number + frame))


def run_segment(folder: Path, workdir: Path) -> None:
    """Segments the clips of a folder."""
    segment([folder / "clips"], workdir, folder / TRAINED)


def run_evaluate(folder: Path, workdir: Path) -> None:
    """Evaluates the network of a folder."""
    evaluate.evaluate(evaluation_config(), workdir, str(folder / TRAINED), None)


def run_evaluate_alone(folder: Path, workdir: Path) -> None:
    """As `run_evaluate`, without processes that score."""
    with mock.patch.object(score, "usable_cores", lambda: 1):
        run_evaluate(folder, workdir)


def files_in(workdir: Path) -> dict[str, bytes]:
    """Relative path -> bytes of the files that depend on the inputs alone."""
    paths = [path for path in sorted(workdir.glob("**/*")) if path.is_file() and path.name != REPORT]
    return {str(path.relative_to(workdir)): path.read_bytes() for path in paths}


def problem_with(run: Work, folder: Path, workdir: Path, expected: dict[str, bytes]) -> str:
    """Runs again what was hurt; "" if nothing was lost.

    Args:
      run: the work.
      folder: its inputs.
      workdir: what it has written so far.
      expected: what it writes if nothing happens, from `files_in`.
    """
    records = [path for name in (find.RECORD, sequence_masks.RECORD) for path in workdir.glob(f"**/{name}")]
    unfinished = [path for path in records if json.loads(path.read_bytes()) == UNFINISHED]
    records = [path for path in records if path not in unfinished]
    begun = {str(path.relative_to(workdir)) for path in unfinished}
    hurt = {name: data for name, data in files_in(workdir).items() if name in expected and name not in begun}
    if torn := [name for name, data in hurt.items() if data != expected[name]]:
        return f"torn {torn[0]}"
    times = {path: path.stat().st_mtime_ns for path in records}
    run(folder, workdir)
    if redone := [path for path, time in times.items() if path.stat().st_mtime_ns != time]:
        return f"finished, and made again: {redone[0]}"
    found = files_in(workdir)
    if found.keys() != expected.keys():
        return f"other files: {sorted(found.keys() ^ expected.keys())[:3]}"
    differing = [name for name in expected if found[name] != expected[name]]
    return f"other contents: {differing[0]}" if differing else ""
