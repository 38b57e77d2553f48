"""Segments one video after the other with one network, as `cosnet segment` does, and knows what is done already."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cosnet_jax import parallel
from cosnet_jax.checkpoints.load import SHIPPED_MODEL, load_checkpoint
from cosnet_jax.commands.segment_cutout import check_cutouts, make_cutouts
from cosnet_jax.commands.segment_output import Outputs, ResultWriter, is_complete, remove_earlier
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import claimed, report_read_errors, writable_folder, write_text
from cosnet_jax.inference import crf
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.inference.provenance import describe_inference, digest_of_json
from cosnet_jax.inference.segmenter import Prediction, Segmenter
from cosnet_jax.progress import track
from cosnet_jax.threads import read_ahead
from cosnet_jax.video.find import RECORD
from cosnet_jax.video.reader import StoredVideo, open_video

UNFINISHED = {"unfinished": True}  # the record until all results are there; the folder is known as one of results


@dataclasses.dataclass(frozen=True)
class SegmentSettings:
    """What `cosnet segment` makes of a video, apart from where the results go.

    Raises:
      InputError: a setting is out of range, or two of them contradict each other.
    """

    checkpoint: str | Path = SHIPPED_MODEL  # see `Segmenter.from_pretrained`
    size: tuple[int, int] | None = None  # of this and the next five, see `InferenceConfig`, None is the checkpoint's
    num_references: int | None = None
    sampling: str | None = None
    fusion: str | None = None
    seed: int | None = None
    temporal_smoothing: float | None = None
    refine: bool = False  # by the CRF of the checkpoint's configuration
    crf_backend: str | None = None  # None: the configuration's
    threshold: float = 0.5  # a pixel is foreground where its probability is above this
    save_overlay: bool = True
    save_probabilities: bool = False
    save_coco: bool = False
    cutout: str | None = None  # a key of `segment_cutout.TRANSPARENT`
    background: str | None = None  # of an opaque cut-out, see `Background.parse`
    feather: float = 0.0  # pixels by which the edge of the cut-outs is softened

    def __post_init__(self):
        if not 0 <= self.threshold < 1:
            raise InputError(f"--threshold is {self.threshold}; expected at least 0 and below 1")
        if self.crf_backend and not self.refine:
            raise InputError(f"--crf-backend is {self.crf_backend}; it needs --crf")
        if self.num_references == 0 and (self.sampling or self.fusion or self.seed is not None):
            raise InputError("--num-references is 0; without references there is no --sampling, --fusion or --seed")
        check_cutouts(self.cutout, self.background, self.feather)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a video."""

    input: Path
    output: Path  # the folder of its results
    status: str  # one of `STATUSES`
    frames: int = 0  # 0 where the video could not be opened
    seconds: float = 0.0  # of work
    error: str = ""  # why it failed


STATUSES = ("done", "found", "failed")  # found: it was done before


class VideoProcessor:
    """Segments videos into folders, as `ResultWriter` lays them out, with a network that is compiled once.

    When a video is done, the `result.json` of its folder says what was segmented, with which weights and settings. A
    video whose folder says the same is not segmented again.

    Raises:
      InputError: the checkpoint is missing, the background cannot be read, or an option is wrong.
    """

    def __init__(self, settings: SegmentSettings):
        self._threshold, self._has_said_device = settings.threshold, False
        self._outputs = Outputs(
            settings.save_overlay, settings.save_probabilities, settings.save_coco,
            make_cutouts(settings.cutout, settings.background, settings.feather),
        )  # fmt: skip
        variables, config = load_checkpoint(settings.checkpoint)
        params = InferenceConfig.read(config.inference).crf
        params = dataclasses.replace(params, enabled=settings.refine, backend=settings.crf_backend or params.backend)
        if params.enabled:
            crf.check_installed(params)
        names = ("size", "num_references", "sampling", "fusion", "seed", "temporal_smoothing")
        given = {name: getattr(settings, name) for name in names}
        self._segmenter = Segmenter.from_config(config, variables, crf=params, **given)
        if settings.seed is not None and self._segmenter.config.sampling != "random":
            raise InputError(f"--seed is {settings.seed}; it needs --sampling random")
        self._about = describe_inference(self._segmenter) | {"threshold": settings.threshold}

    def run(self, path: Path, folder: Path, silent: bool = False) -> Outcome:
        """Opens and segments a video, unless it is done; what goes wrong with it is in the outcome."""
        start, frames = time.monotonic(), 0
        try:
            video = open_video(path)
            frames = len(video)
            status, problem = ("found" if self.is_done(video, folder) else "done"), ""
            if status == "done":
                self.process(video, folder, silent)
        except InputError as error:
            status, problem = "failed", str(error)
        return Outcome(path, folder, status, frames, round(time.monotonic() - start, 3), problem)

    def is_done(self, video: StoredVideo, folder: Path) -> bool:
        """Tells whether a folder holds the results of this video with these weights and settings."""
        found, wanted = read_record(folder), self._outputs.record()
        is_same = found.get("maps") == self._record(video)
        return is_same and wanted.items() <= found["outputs"].items() and is_complete(folder, video, wanted)

    def process(self, video: StoredVideo, folder: Path, silent: bool = False) -> None:
        """Segments a video.

        Reading, the network, and the CRF with the writing work at the same time, in memory that does not grow with the
        video's length. What an earlier run made of the same masks stays; its other results are removed, and named.

        Raises:
          InputError: a frame cannot be read, a result cannot be written, or another process writes to the folder.
        """
        record, wanted = self._record(video), self._outputs.record()
        if not silent and not self._has_said_device:
            print(f"device: {parallel.describe()}", file=sys.stderr)
            self._has_said_device = True
        with claimed(writable_folder(folder), ".lock", "writes results"):
            earlier = read_record(folder)
            kept = earlier["outputs"] if earlier.get("maps") == record else {}
            write_text(folder / RECORD, json.dumps(UNFINISHED) + "\n")
            for name in remove_earlier(folder, set(video.frame_names), wanted, kept):
                print(printable(f"{folder / name}: removed; an earlier run made it of other masks"))
            self._write_results(video, folder, silent)
            write_text(folder / RECORD, json.dumps({"maps": record, "outputs": kept | wanted}, indent=2) + "\n")

    def _write_results(self, video: StoredVideo, folder: Path, silent: bool) -> None:
        references = common_references(self._segmenter.references(len(video)))
        with (
            contextlib.closing(read_ahead(self._segmenter.predict(video))) as predictions,
            contextlib.closing(frames_and_maps(predictions, self._segmenter.config.crf)) as results,
            ResultWriter(folder, video, self._outputs, references, self._threshold) as writer,
        ):
            for frame, probability in track(results, video.name, len(video), silent):
                writer.write(frame, probability)

    def _record(self, video: StoredVideo) -> dict[str, Any]:
        """What decides the masks. Files count as the same while their names, sizes and times of change are."""
        with report_read_errors(video.path):
            states = [(file, file.stat()) for file in video.files]
        files = [(file.name, state.st_size, state.st_mtime_ns) for file, state in states]
        return {**self._about, "input": {"name": video.name, "frames": len(video), "files": digest_of_json(files)}}


def read_record(folder: Path) -> dict[str, Any]:
    """Returns what the `result.json` of a folder of results says, or {} if it is missing or damaged."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return record if {"maps", "outputs"} <= record.keys() else {}
    except (OSError, ValueError, AttributeError):
        return {}


def frames_and_maps(
    predictions: Iterable[Prediction], params: crf.CRFConfig
) -> Generator[tuple[np.ndarray, np.ndarray]]:
    """Yields each frame with its probability map; where it is enabled, a CRF sharpens the maps, a few frames ahead."""
    if not params.enabled:
        yield from ((frame, maps[0]) for _, frame, maps in predictions)
        return
    items = ((frame, frame, maps[0]) for _, frame, maps in predictions)
    with contextlib.closing(crf.refine_stream(items, params)) as refined:
        yield from refined


def common_references(reference_indices: np.ndarray) -> list[int]:
    """The frames that at least half of a video's frames are compared with, from its `reference_indices` (T, n)."""
    counts = np.bincount(reference_indices.ravel(), minlength=len(reference_indices))
    return np.flatnonzero(counts >= len(reference_indices) / 2).tolist()
