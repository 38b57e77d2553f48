"""`cosnet segment`: videos to masks, overlay videos, contact sheets and cut-outs."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from cosnet_jax import parallel
from cosnet_jax.checkpoints.load import SHIPPED_MODEL
from cosnet_jax.commands.arguments import INFERENCE, add_network_arguments
from cosnet_jax.commands.segment_on_ray import CORES_PER_WORKER, segment_on_ray
from cosnet_jax.commands.segment_output import TRANSPARENT
from cosnet_jax.commands.segment_video import STATUSES, Outcome, VideoProcessor
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import expanded, writable_folder, write_text
from cosnet_jax.inference.crf import BACKENDS
from cosnet_jax.progress import track
from cosnet_jax.video.find import RECORD, find_videos
from cosnet_jax.video.stored import FASTEST, SLOWEST, video_name

EXAMPLE = "cosnet segment clip.mp4 --output out/clip"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="a video, a folder of frames or of videos, or a pattern '*.mp4'")
    add("--output", required=True, metavar="DIR", help="folder of the results; several videos get one each in it")
    add_network_arguments(parser, *INFERENCE)
    add("--keep", type=place, metavar="X,Y[,FRAME]", help="keep the object at column X, row Y of this frame (0) alone")
    add("--crf", action="store_true", dest="refine", help="sharpen the outlines by a fully connected CRF")
    add("--crf-backend", choices=BACKENDS, help="implementation of the CRF, which it turns on")
    add("--fps", type=frame_rate, help="frames a second of a folder of frames (24) or a raw stream")
    add("--threshold", type=float, default=0.5, help="foreground is what is more probable (0.5)")
    yes_or_no = argparse.BooleanOptionalAction
    add("--overlay", action=yes_or_no, default=True, dest="save_overlay", help="write an overlay video (yes)")
    add("--save-probabilities", action="store_true", help="write the probabilities as 16-bit PNGs")
    kinds = "VP9 (the default), ProRes 4444 (.mov) or images"
    add("--cutout", nargs="?", const="webm", choices=TRANSPARENT, help=f"write the object with transparency: {kinds}")
    behind = "white, black, '#rrggbb', blur (what was there, blurred) or an image file"
    add("--background", metavar="BACKGROUND", help=f"write an mp4 of the object over {behind}")
    add("--feather", type=float, default=0.0, metavar="PIXELS", help="soften the edge of the cut-outs by so much (0)")
    add(
        "--ray",
        metavar="ADDRESS",
        help="share the videos on a Ray cluster: auto, HOST:PORT, or local to start one",
    )
    workers = f"workers (one per GPU or TPU, or {CORES_PER_WORKER} cores)"
    add("--ray-workers", type=int, metavar="N", dest="num_workers", help=workers)


def place(text: str) -> tuple[int, int, int]:
    """Reads a pixel X,Y or X,Y,FRAME; the frame is 0 if it is not given."""
    x, y, frame = map(int, f"{text},0".split(",")[:3])
    if min(x, y, frame) < 0:
        raise ValueError
    return x, y, frame


def frame_rate(text: str) -> Fraction:
    """Reads a frame rate such as 25, 29.97 or 30000/1001."""
    rate = Fraction(text)
    if not SLOWEST <= rate <= FASTEST:
        raise ValueError
    return rate


def run(arguments: argparse.Namespace) -> int:
    """Segments the inputs and prints the folders of the results; status 1 if a video failed."""
    outcomes = segment(**{name: value for name, value in vars(arguments).items() if name != "overrides"})
    for outcome in outcomes:
        if outcome.status == "failed":
            print(f"error: {printable(str(outcome.input))} failed: {outcome.error}", file=sys.stderr)
        else:
            print(printable(str(outcome.output)))
    return int(any(outcome.status == "failed" for outcome in outcomes))


def segment(
    inputs: Sequence[str | Path],
    output: str | Path,
    checkpoint: str | Path = SHIPPED_MODEL,
    *,
    ray: str | None = None,
    num_workers: int | None = None,
    **settings: Any,
) -> list[Outcome]:
    """Segments videos and writes their masks, overlay videos, contact sheets and cut-outs (see `ResultWriter`).

    What an earlier run finished is not done again. Of several videos, one that cannot be segmented does not stop the
    others, and `output` gets a `summary.json`.

    Args:
      inputs: video files, folders of frames, folders of videos, or patterns.
      output: folder for the results; of several videos each has a folder of its name in it.
      ray, num_workers: address of a Ray cluster, and workers, see `segment_on_ray`.
      checkpoint, **settings: see `VideoProcessor`.

    Raises:
      InputError: an input is no video or the only video fails, the checkpoint is missing, the output cannot be written,
        or an option is wrong.
    """
    output = expanded(output)
    found = [path for given in inputs for path in find_videos(given)]
    paths = list({os.path.realpath(path): path for path in found}.values())
    single = not ray and [expanded(given) for given in inputs] == paths and len(paths) == 1
    folders = output_folders(paths, output, single)
    if ray:
        parallel.use_cpu()  # the accelerators are the workers'
    parallel.keep_compiled()
    processor = VideoProcessor(checkpoint, **settings)  # its errors come before any work
    for folder in [output] if ray else folders:
        writable_folder(folder)
    if ray:
        jobs, settings = list(zip(paths, folders, strict=True)), {"checkpoint": checkpoint, **settings}
        outcomes = segment_on_ray(jobs, settings, ray, num_workers)
        return write_summary(track(outcomes, "videos", len(paths)), output)
    if not single:
        return write_summary(map(processor.run, paths, folders), output)
    outcome = processor.run(paths[0], output)
    if outcome.status == "failed":
        raise InputError(outcome.error)
    return [outcome]


def write_summary(outcomes: Iterable[Outcome], output: Path) -> list[Outcome]:
    """Writes what became of each video to `summary.json`, also when the work is interrupted; returns it."""
    finished: list[Outcome] = []
    try:
        finished.extend(outcomes)
    finally:
        counts = {status: sum(each.status == status for each in finished) for status in STATUSES}
        summary = counts | {"videos": [dataclasses.asdict(outcome) for outcome in finished]}
        write_text(output / "summary.json", json.dumps(summary, indent=2, default=str) + "\n")
    return finished


def output_folders(videos: Sequence[Path], output: Path, single: bool) -> list[Path]:
    """Chooses where each video's results go.

    Returns:
      For each video a folder of its name in `output`; for a `single` one `output` itself.

    Raises:
      InputError: two videos have the same name, or there are other files in a folder than results.
    """
    folders = [output if single else output / video_name(video) for video in videos]
    uses = Counter(folders)
    for video, folder in zip(videos, folders, strict=True):
        if uses[folder] > 1:
            raise InputError(f"{video}: another video would be written to {folder} too; rename one of them")
        entries = list(folder.iterdir()) if folder.is_dir() else []
        is_ours = folder / RECORD in entries and folder.resolve() not in video.resolve().parents
        if not is_ours and (others := [entry for entry in entries if not entry.name.startswith(".")]):
            raise InputError(
                f"{folder}: holds {others[0].name}, which may be no result of this command; expected an --output that "
                "is new, or empty, or has the results of an earlier run and not the input"
            )
    return folders
