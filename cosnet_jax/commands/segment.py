"""`cosnet segment`: videos to masks, overlay videos, contact sheets and cut-outs."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cosnet_jax import parallel
from cosnet_jax.checkpoints.load import SHIPPED_MODEL
from cosnet_jax.commands.segment_cutout import TRANSPARENT
from cosnet_jax.commands.segment_on_ray import CORES_PER_WORKER, segment_on_ray
from cosnet_jax.commands.segment_output import FILES, IMAGES, check_ours
from cosnet_jax.commands.segment_video import STATUSES, Outcome, SegmentSettings, VideoProcessor
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import expanded, writable_folder, write_text
from cosnet_jax.inference.crf import BACKENDS
from cosnet_jax.inference.options import FUSIONS
from cosnet_jax.inference.references import SAMPLINGS
from cosnet_jax.progress import track
from cosnet_jax.video.find import RECORD, find_videos
from cosnet_jax.video.images import is_image
from cosnet_jax.video.stored import video_name

EXAMPLE = "cosnet segment clip.mp4 --output out/clip"
SUMMARY = "summary.json"


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the network, and how it takes frames. Those without a default are the checkpoint's."""
    parser.add_argument(
        "--checkpoint", default=SHIPPED_MODEL, metavar="DIR",
        help="a checkpoint, a weights file, or the working directory of a training (the shipped model)",
    )  # fmt: skip
    parser.add_argument("--size", nargs=2, type=int, metavar=("H", "W"), help="size of the network's input")
    parser.add_argument("--sampling", choices=SAMPLINGS, help="choice of the references")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add = parser.add_argument
    add(
        "inputs", nargs="+", metavar="INPUT",
        help="a video file, a folder of jpg or png frames, a folder of videos, or a pattern such as 'clips/*.mp4'",
    )  # fmt: skip
    add(
        "--output", required=True, metavar="DIR",
        help="folder of the results; several videos, and all on Ray, get one each in it",
    )  # fmt: skip
    add_network_arguments(parser)
    add("--num-references", type=int, metavar="N", help="frames that each frame is compared with")
    add("--fusion", choices=FUSIONS, help="fusion of the references")
    add("--seed", type=int, help="seed of random sampling")
    add(
        "--smooth", type=float, metavar="FRAMES", dest="temporal_smoothing",
        help="standard deviation in frames of an average over neighbouring maps, so that masks flicker less",
    )  # fmt: skip
    add("--crf", action="store_true", dest="refine", help="sharpen the outlines by a fully connected CRF")
    add("--crf-backend", choices=BACKENDS, help="implementation of the CRF")
    add("--threshold", type=float, default=0.5, help="foreground is what is more probable (0.5)")
    add(
        "--overlay", action=argparse.BooleanOptionalAction, default=True, dest="save_overlay",
        help="write an overlay video (yes)",
    )  # fmt: skip
    add("--save-probabilities", action="store_true", help="write the probabilities as 16-bit PNGs")
    add(
        "--cutout", nargs="?", const="webm", choices=TRANSPARENT,
        help="write the object with transparency: VP9 (the default), ProRes 4444 (.mov) or images",
    )  # fmt: skip
    add(
        "--background", metavar="BACKGROUND",
        help="write the object over white, black, a colour '#rrggbb', blur (what was there, blurred) or an image file, "
        "as an mp4",
    )  # fmt: skip
    add("--feather", type=float, default=0.0, metavar="PIXELS", help="soften the edge of the cut-outs by so much (0)")
    add("--coco", action="store_true", dest="save_coco", help="write the masks as run lengths too, as JSON of COCO")
    add(
        "--ray", metavar="ADDRESS",
        help="segment many videos on a Ray cluster: auto, HOST:PORT, or local, which starts Ray on this machine",
    )  # fmt: skip
    add(
        "--ray-workers", type=int, metavar="N", dest="num_workers",
        help=f"workers (one per GPU or TPU, or {CORES_PER_WORKER} cores)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Segments the inputs and prints the folders of the results; status 1 if a video failed."""
    settings = {name: value for name, value in vars(arguments).items() if name != "overrides"}
    settings["size"] = tuple(arguments.size) if arguments.size else None
    outcomes = segment(**settings)
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
      checkpoint, **settings: see `SegmentSettings`.

    Raises:
      InputError: an input is no video or the only video fails, the checkpoint is missing, the output cannot be written,
        or an option is wrong.
    """
    if num_workers is not None and (num_workers < 1 or not ray):
        raise InputError(f"--ray-workers is {num_workers}; expected at least 1, together with --ray")
    options, output = SegmentSettings(checkpoint, **settings), expanded(output)
    found = [path for given in inputs for path in find_videos(given)]
    paths = list({os.path.realpath(path): path for path in found}.values())
    single = not ray and [expanded(given) for given in inputs] == paths and len(paths) == 1
    folders = output_folders(paths, output, single)
    if ray:
        parallel.use_cpu()  # the accelerators are the workers'
    parallel.keep_compiled()
    processor = VideoProcessor(options)  # its errors come before any work
    for folder in [output] if ray else folders:
        writable_folder(folder)
    if single:
        outcome = processor.run(paths[0], output)
        if outcome.status == "failed":
            raise InputError(outcome.error)
        return [outcome]
    if ray:
        jobs = [(path.absolute(), folder.absolute()) for path, folder in zip(paths, folders, strict=True)]
        outcomes = segment_on_ray(jobs, with_absolute_paths(options), ray, num_workers)
        with contextlib.closing(outcomes):
            return write_summary(track(outcomes, "videos", len(jobs)), output)
    return write_summary(map(processor.run, paths, folders), output)


def with_absolute_paths(options: SegmentSettings) -> SegmentSettings:
    """Returns settings that mean the same in any working folder."""
    if options.checkpoint != SHIPPED_MODEL:
        options = dataclasses.replace(options, checkpoint=expanded(options.checkpoint).absolute())
    if options.background and is_image(path := expanded(options.background)):
        options = dataclasses.replace(options, background=str(path.absolute()))
    return options


def write_summary(outcomes: Iterable[Outcome], output: Path) -> list[Outcome]:
    """Writes what became of each video to `summary.json`, also when the work is interrupted; returns it."""
    finished: list[Outcome] = []
    try:
        for outcome in outcomes:
            finished.append(outcome)
    finally:
        counts = {status: sum(outcome.status == status for outcome in finished) for status in STATUSES}
        summary = {**counts, "videos": [dataclasses.asdict(outcome) for outcome in finished]}
        write_text(output / SUMMARY, json.dumps(summary, indent=2, default=str) + "\n")
    return finished


def output_folders(videos: Sequence[Path], output: Path, single: bool) -> list[Path]:
    """Chooses where each video's results go.

    Returns:
      For each video a folder of its name in `output`; for a `single` one `output` itself.

    Raises:
      InputError: two videos have the same name, or results would come among an input's frames, over an input, or over
        files that are no results.
    """
    by_name: dict[str, Path] = {}
    for video in videos:
        name = video_name(video)
        if name in by_name:
            raise InputError(
                f"{by_name[name]} and {video} would both be written to {output / name}; rename one of them"
            )
        by_name[name] = video
    folders = [output] if single else [output / name for name in by_name]
    inputs = {os.path.realpath(video): video for video in videos}
    inputs |= {os.path.realpath(video.parent): video for video in videos if is_image(video) and video.is_file()}
    for folder, name in itertools.product(folders, ("", *IMAGES, *FILES, RECORD)):
        if (result := os.path.realpath(folder / name)) in inputs:
            raise InputError(f"{inputs[result]}: results would be written over this input; expected another --output")
    for folder in folders:
        check_ours(folder)
    return folders
