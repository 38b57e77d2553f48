"""`cosnet segment`: videos to masks, overlay videos and contact sheets."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import os
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cosnet_jax.checkpoints.store import SHIPPED_MODEL, load_checkpoint
from cosnet_jax.commands.segment_output import ResultWriter
from cosnet_jax.errors import InputError
from cosnet_jax.files import writable_folder
from cosnet_jax.inference import crf
from cosnet_jax.inference.read_ahead import read_ahead
from cosnet_jax.inference.segmenter import Segmented, Segmenter
from cosnet_jax.progress import track
from cosnet_jax.video.reader import StoredVideo, open_video

EXAMPLE = "cosnet segment clip.mp4 --output out/clip"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments. Those without a default take what the checkpoint's configuration says."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="a video file, or a folder of jpg or png frames")
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder of the results; several inputs get one each in it"
    )
    parser.add_argument(
        "--checkpoint", default=SHIPPED_MODEL, metavar="DIR",
        help="a checkpoint, a weights file, or the working directory of a training (the shipped model)",
    )  # fmt: skip
    parser.add_argument("--size", nargs=2, type=int, metavar=("H", "W"), help="size of the network's input")
    parser.add_argument("--num-references", type=int, metavar="N", help="frames that each frame is compared with")
    parser.add_argument("--sampling", help="choice of the references: uniform, random or consecutive")
    parser.add_argument("--fusion", help="fusion of the references: summary, prediction or group")
    parser.add_argument("--seed", type=int, help="seed of random sampling")
    parser.add_argument("--crf", action="store_true", help="sharpen the outlines by a fully connected CRF")
    parser.add_argument("--crf-backend", help="implementation of the CRF: jax or pydensecrf")
    parser.add_argument("--threshold", type=float, default=0.5, help="foreground is what is more probable (0.5)")
    parser.add_argument("--overlay", action=argparse.BooleanOptionalAction, default=True, help="write an overlay video")
    parser.add_argument("--save-probabilities", action="store_true", help="write the probabilities as 16-bit PNGs")


def run(arguments: argparse.Namespace) -> int:
    """Segments the inputs and prints the folders of the results."""
    folders = segment(
        arguments.inputs, arguments.output, arguments.checkpoint,
        size=tuple(arguments.size) if arguments.size else None, num_references=arguments.num_references,
        sampling=arguments.sampling, fusion=arguments.fusion, seed=arguments.seed, refine=arguments.crf,
        crf_backend=arguments.crf_backend, threshold=arguments.threshold, save_overlay=arguments.overlay,
        save_probabilities=arguments.save_probabilities,
    )  # fmt: skip
    for folder in folders:
        print(folder)
    return 0


def segment(
    inputs: Sequence[str | Path],
    output: str | Path,
    checkpoint: str | Path = SHIPPED_MODEL,
    *,
    refine: bool = False,
    crf_backend: str | None = None,
    threshold: float = 0.5,
    save_overlay: bool = True,
    save_probabilities: bool = False,
    **options: Any,
) -> list[Path]:
    """Segments videos and writes their masks, overlay videos and contact sheets (see `ResultWriter`).

    Everything is checked before the first frame is segmented. Then reading, the network, and the CRF with the writing
    work at the same time, in memory that does not grow with a video's length.

    Args:
      inputs: video files, or folders of frames.
      output: folder for the results; of several inputs each has a folder of its name in it.
      checkpoint: see `Segmenter.from_pretrained`.
      refine: whether a CRF sharpens the probabilities, with the parameters of the checkpoint's configuration.
      crf_backend: see `CRFParams`; None takes the configuration's.
      threshold: a pixel is foreground where its probability is above this, in [0, 1).
      save_overlay, save_probabilities: whether to write them.
      **options: size, num_references, sampling, fusion and seed as in `Segmenter.from_pretrained`.

    Returns:
      The folders of the results, one for each input.

    Raises:
      InputError: an input is no video, the checkpoint is missing, the output cannot be written, or an option is wrong.
    """
    if not 0 <= threshold < 1:
        raise InputError(f"--threshold is {threshold}; expected at least 0 and below 1")
    videos = [open_video(path) for path in inputs]
    folders = output_folders(videos, Path(output).expanduser())
    variables, config = load_checkpoint(checkpoint)
    segmenter = Segmenter.from_config(config, variables, **options)
    params = crf.params_from_config(config.inference.get("crf")) if refine else None
    if params and crf_backend:
        params = dataclasses.replace(params, backend=crf_backend)
    if params:
        crf.check_installed(params)
    for folder in folders:
        writable_folder(folder)
    for video, folder in zip(videos, folders, strict=True):
        references = common_references(segmenter.references(len(video)))
        with (
            contextlib.closing(read_ahead(segmenter.segment(video))) as segmented,
            contextlib.closing(frames_and_maps(segmented, params)) as results,
            ResultWriter(folder, video, references, threshold, save_overlay, save_probabilities) as writer,
        ):
            for frame, probability in track(results, video.name, len(video)):
                writer.write(frame, probability)
    return folders


def frames_and_maps(
    segmented: Iterable[Segmented], params: crf.CRFParams | None
) -> Generator[tuple[np.ndarray, np.ndarray]]:
    """Yields each frame with its probability map; with `params` a CRF sharpens the maps, a few frames ahead."""
    if params is None:
        yield from ((frame, maps[0]) for _, frame, maps in segmented)
        return
    items = ((frame, frame, maps[0]) for _, frame, maps in segmented)
    with contextlib.closing(crf.refine_stream(items, params)) as refined:
        yield from refined


def output_folders(videos: Sequence[StoredVideo], output: Path) -> list[Path]:
    """Chooses where each video's results go.

    Args:
      videos: the inputs.
      output: the folder of all results.

    Returns:
      `output` for a single video, else a folder in it for each.

    Raises:
      InputError: two videos have the same name, or results would come among an input's frames or over an input.
    """
    by_name: dict[str, StoredVideo] = {}
    for video in videos:
        if video.name in by_name:
            first = by_name[video.name].path
            raise InputError(f"{first} and {video.path} would both be written to {output / video.name}")
        by_name[video.name] = video
    folders = [output] if len(videos) == 1 else [output / name for name in by_name]
    for video, folder in itertools.product(videos, folders):
        if os.path.realpath(video.path) in (os.path.realpath(folder), os.path.realpath(folder / "overlay.mp4")):
            raise InputError(f"{video.path}: results would be written over this input; expected another --output")
    return folders


def common_references(reference_indices: np.ndarray) -> list[int]:
    """The frames that at least half of a video's frames are compared with, from its `reference_indices` (T, n)."""
    counts = np.bincount(reference_indices.ravel(), minlength=len(reference_indices))
    return np.flatnonzero(counts >= len(reference_indices) / 2).tolist()
