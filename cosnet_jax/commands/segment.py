"""`cosnet segment`: videos to masks, overlay videos, contact sheets and cut-outs."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cosnet_jax.checkpoints.load import SHIPPED_MODEL
from cosnet_jax.commands.segment_cutout import AUTO, FORMATS
from cosnet_jax.commands.segment_on_ray import CORES_PER_WORKER, STATUSES, Outcome, segment_on_ray
from cosnet_jax.commands.segment_output import FILES, IMAGES, check_ours
from cosnet_jax.commands.segment_video import SegmentSettings, VideoSegmenter
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import expanded, writable_folder, write_text
from cosnet_jax.parallel import use_cpu
from cosnet_jax.progress import track
from cosnet_jax.video.find import find_videos
from cosnet_jax.video.images import is_image
from cosnet_jax.video.reader import open_video, video_name

EXAMPLE = "cosnet segment clip.mp4 --output out/clip"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments. Those without a default take what the checkpoint's configuration says."""
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT",
        help="a video file, a folder of jpg or png frames, a folder of videos, or a pattern such as 'clips/*.mp4'",
    )  # fmt: skip
    parser.add_argument(
        "--output", required=True, metavar="DIR",
        help="folder of the results; several videos, and all on Ray, get one each in it",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint", default=SHIPPED_MODEL, metavar="DIR",
        help="a checkpoint, a weights file, or the working directory of a training (the shipped model)",
    )  # fmt: skip
    parser.add_argument(
        "--size", nargs=2, type=int, metavar=("H", "W"), help="size of the network's input (the checkpoint's)"
    )
    parser.add_argument(
        "--num-references", type=int, metavar="N", help="frames that each frame is compared with (the checkpoint's)"
    )
    parser.add_argument(
        "--sampling", help="choice of the references: uniform, random or consecutive (the checkpoint's)"
    )
    parser.add_argument("--fusion", help="fusion of the references: summary, prediction or group (the checkpoint's)")
    parser.add_argument("--seed", type=int, help="seed of random sampling (the checkpoint's)")
    parser.add_argument(
        "--smooth", type=float, metavar="FRAMES",
        help="average the maps over so many frames, so that masks flicker less (the checkpoint's)",
    )  # fmt: skip
    parser.add_argument("--crf", action="store_true", help="sharpen the outlines by a fully connected CRF")
    parser.add_argument("--crf-backend", help="implementation of the CRF: jax or pydensecrf (the checkpoint's)")
    parser.add_argument("--threshold", type=float, default=0.5, help="foreground is what is more probable (0.5)")
    parser.add_argument(
        "--overlay", action=argparse.BooleanOptionalAction, default=True, help="write an overlay video (yes)"
    )
    parser.add_argument("--save-probabilities", action="store_true", help="write the probabilities as 16-bit PNGs")
    parser.add_argument(
        "--cutout", nargs="?", const=AUTO, choices=FORMATS, metavar="FORMAT",
        help="write the object with transparency: webm (VP9; the default), prores (ProRes 4444, .mov) or png (images)",
    )  # fmt: skip
    parser.add_argument(
        "--background", metavar="BACKGROUND",
        help="write the object over white, black, a colour '#rrggbb', blur (what was there, blurred) or an image file, "
        "as an mp4",
    )  # fmt: skip
    parser.add_argument(
        "--feather", type=float, default=0.0, metavar="PIXELS", help="soften the edge of the cut-out by so much (0)"
    )
    parser.add_argument("--coco", action="store_true", help="write the masks as run lengths too, as JSON of COCO")
    parser.add_argument(
        "--ray", metavar="ADDRESS",
        help="segment many videos on a Ray cluster: auto, HOST:PORT, or local, which starts Ray on this machine",
    )  # fmt: skip
    parser.add_argument(
        "--ray-workers", type=int, default=0, metavar="N",
        help=f"workers (one per GPU or TPU, or {CORES_PER_WORKER} cores)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Segments the inputs and prints the folders of the results."""
    folders = segment(
        arguments.inputs, arguments.output, arguments.checkpoint, ray=arguments.ray, num_workers=arguments.ray_workers,
        size=tuple(arguments.size) if arguments.size else None, num_references=arguments.num_references,
        sampling=arguments.sampling, fusion=arguments.fusion, seed=arguments.seed,
        temporal_smoothing=arguments.smooth, refine=arguments.crf, crf_backend=arguments.crf_backend,
        threshold=arguments.threshold, save_overlay=arguments.overlay, save_probabilities=arguments.save_probabilities,
        cutout=arguments.cutout, background=arguments.background, feather=arguments.feather, save_coco=arguments.coco,
    )  # fmt: skip
    for folder in folders:
        print(printable(str(folder)))
    return 0


def segment(
    inputs: Sequence[str | Path],
    output: str | Path,
    checkpoint: str | Path = SHIPPED_MODEL,
    *,
    ray: str | None = None,
    num_workers: int = 0,
    **settings: Any,
) -> list[Path]:
    """Segments videos and writes their masks, overlay videos, contact sheets and cut-outs (see `ResultWriter`).

    Everything is checked before the first frame is segmented; on Ray, the videos are opened by the workers, and one
    that cannot be segmented does not stop the others. What an earlier run finished is not done again.

    Args:
      inputs: video files, folders of frames, folders of videos, or patterns.
      output: folder for the results; of several videos each has a folder of its name in it.
      checkpoint: see `Segmenter.from_pretrained`.
      ray: address of a Ray cluster, see `segment_on_ray`; `output` gets a `summary.json` then.
      num_workers: of Ray, see there.
      **settings: the other attributes of `SegmentSettings`.

    Returns:
      The folders of the results, one for each video.

    Raises:
      InputError: an input is no video, the checkpoint is missing, the output cannot be written, an option is wrong, or
        videos failed on Ray.
    """
    if num_workers < 0:
        raise InputError(f"--ray-workers is {num_workers}; expected 0 or more")
    if num_workers and not ray:
        raise InputError(f"--ray-workers is {num_workers}; it needs --ray")
    options, output = SegmentSettings(checkpoint, **settings), expanded(output)
    found = [path for given in inputs for path in find_videos(given)]
    paths = list({os.path.realpath(path): path for path in found}.values())
    if ray:
        use_cpu()  # the accelerators are the workers'
    segmenter = VideoSegmenter(options)
    if ray:
        folders = output_folders(paths, output, single=False)
        writable_folder(output)
        jobs = [(path.absolute(), folder.absolute()) for path, folder in zip(paths, folders, strict=True)]
        options = with_absolute_paths(options)
        with contextlib.closing(segment_on_ray(jobs, options, ray, num_workers)) as outcomes:
            write_summary(track(outcomes, "videos", len(jobs)), output)
        return folders
    videos = [open_video(path) for path in paths]
    folders = output_folders(paths, output, single=[expanded(given) for given in inputs] == paths)
    for folder in folders:
        writable_folder(folder)
    for video, folder in zip(videos, folders, strict=True):
        if not segmenter.is_done(video, folder):
            segmenter.segment(video, folder)
    return folders


def with_absolute_paths(options: SegmentSettings) -> SegmentSettings:
    """Returns settings that mean the same in any working folder."""
    if options.checkpoint != SHIPPED_MODEL:
        options = dataclasses.replace(options, checkpoint=expanded(options.checkpoint).absolute())
    if options.background and is_image(path := expanded(options.background)):
        options = dataclasses.replace(options, background=str(path.absolute()))
    return options


def write_summary(outcomes: Iterable[Outcome], output: Path) -> None:
    """Writes what became of each video to `summary.json`, also when the work is interrupted.

    Raises:
      InputError: videos failed.
    """
    finished = []
    try:
        for outcome in outcomes:
            finished.append(outcome)
    finally:
        if finished:
            counts = {status: sum(outcome.status == status for outcome in finished) for status in STATUSES}
            summary = {**counts, "videos": [dataclasses.asdict(outcome) for outcome in finished]}
            write_text(output / "summary.json", json.dumps(summary, indent=2) + "\n")
    failed = [outcome for outcome in finished if outcome.status == "failed"]
    if failed:
        more = f"; {len(failed) - 1} more, see {output / 'summary.json'}" if len(failed) > 1 else ""
        raise InputError(f"{failed[0].input} failed: {failed[0].error}{more}")


def output_folders(videos: Sequence[Path], output: Path, single: bool) -> list[Path]:
    """Chooses where each video's results go.

    Args:
      videos: the inputs.
      output: the folder of all results.
      single: whether the results of a single video go to `output` itself.

    Returns:
      For each video a folder of its name in `output`, or `output`.

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
    folders = [output] if single and len(videos) == 1 else [output / name for name in by_name]
    inputs = {os.path.realpath(video): video for video in videos}
    inputs |= {os.path.realpath(video.parent): video for video in videos if is_image(video) and video.is_file()}
    for folder, name in itertools.product(folders, ("", *IMAGES, *FILES)):
        if (result := os.path.realpath(folder / name)) in inputs:
            raise InputError(f"{inputs[result]}: results would be written over this input; expected another --output")
    for folder in folders:
        check_ours(folder)
    return folders
