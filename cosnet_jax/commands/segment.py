"""Segments videos from files to files: what `python -m cosnet_jax segment` does."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from cosnet_jax.checkpoints.store import PRETRAINED
from cosnet_jax.commands.segment_output import ResultWriter
from cosnet_jax.config import MIN_SIZE
from cosnet_jax.errors import InputError
from cosnet_jax.files import writable_folder
from cosnet_jax.inference import crf
from cosnet_jax.inference.read_ahead import read_ahead
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.progress import track
from cosnet_jax.video.reader import Video, open_video


def segment(
    inputs: Sequence[str | Path],
    output: str | Path,
    checkpoint: str | Path | None,
    size: tuple[int, int] | None = None,
    num_references: int = 5,
    sampling: str = "uniform",
    fusion: str = "summary",
    refine: bool = False,
    threshold: float = 0.5,
    save_overlay: bool = True,
    save_probabilities: bool = False,
) -> list[Path]:
    """Segments videos and writes their masks, overlay videos and contact sheets (see `ResultWriter`).

    Everything is checked before the first frame is segmented. Then reading, the network, and the CRF with the writing
    work at the same time, in memory that does not grow with a video's length.

    Args:
      inputs: video files, or folders of frames.
      output: folder for the results; of several inputs each has a folder of its name in it.
      checkpoint: see `checkpoints.find`; None takes the shipped model.
      size: (height, width) of the network's input; None takes the configuration's.
      num_references, sampling, fusion: see `InferenceOptions`.
      refine: whether a CRF sharpens the probabilities.
      threshold: a pixel is foreground where its probability is above this, in [0, 1).
      save_overlay, save_probabilities: whether to write them.

    Returns:
      The folders of the results, one for each input.

    Raises:
      InputError: an input is no video, the checkpoint is missing, the output cannot be written, or a setting is wrong.
    """
    if size is not None and min(size) < MIN_SIZE:
        raise InputError(f"--size is {tuple(size)}; expected at least {MIN_SIZE} pixels either way")
    if not 0 <= threshold < 1:
        raise InputError(f"--threshold is {threshold}; expected at least 0 and below 1")
    if refine:
        crf.check_installed()
    videos = [open_video(path) for path in inputs]
    folders = output_folders(videos, Path(output).expanduser())
    segmenter = Segmenter.from_checkpoint(checkpoint or PRETRAINED, size, num_references, sampling, fusion)
    for folder in folders:
        writable_folder(folder)
    for video, folder in zip(videos, folders, strict=True):
        references = common_references(segmenter.references(len(video), segmenter.setting))
        with (
            contextlib.closing(read_ahead(segmenter.stream_pairs(video))) as found,
            contextlib.closing(refined(found) if refine else found) as results,
            ResultWriter(folder, video, references, threshold, save_overlay, save_probabilities) as writer,
        ):
            for image, probability in track(results, video.name, len(video)):
                writer.write(image, probability)
    return folders


def output_folders(videos: Sequence[Video], output: Path) -> list[Path]:
    """Chooses where each video's results go.

    Args:
      videos: the inputs.
      output: the folder of all results.

    Returns:
      `output` for a single video, else a folder in it for each.

    Raises:
      InputError: two videos have the same name, or results would come among an input's frames or over an input.
    """
    by_name: dict[str, Video] = {}
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


def common_references(table: np.ndarray) -> list[int]:
    """The frames that at least half of a video's frames are compared with, from its table of references (T, n)."""
    counts = np.bincount(table.ravel(), minlength=len(table))
    return np.flatnonzero(counts >= len(table) / 2).tolist()


def refined(results: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sharpens the maps of (image, map) pairs by the CRF with its default parameters, a few frames ahead."""
    return crf.refine_stream((image, image, probability) for image, probability in results)
