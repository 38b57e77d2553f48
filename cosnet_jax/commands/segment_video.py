"""Segments one video after the other with one network, as `cosnet segment` does, and knows what is done already."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cosnet_jax.checkpoints.load import SHIPPED_MODEL, load_checkpoint
from cosnet_jax.commands.segment_cutout import check_cutout, make_cutout
from cosnet_jax.commands.segment_output import Outputs, ResultWriter, is_complete, remove_earlier
from cosnet_jax.errors import InputError
from cosnet_jax.files import claimed, report_read_errors, writable_folder, write_text
from cosnet_jax.inference import crf
from cosnet_jax.inference.provenance import describe_inference
from cosnet_jax.inference.read_ahead import read_ahead
from cosnet_jax.inference.segmenter import Segmented, Segmenter
from cosnet_jax.progress import track
from cosnet_jax.video.find import RECORD
from cosnet_jax.video.reader import StoredVideo

UNFINISHED = {"unfinished": True}  # the record until all results are there; the folder is known as one of results


@dataclasses.dataclass(frozen=True)
class SegmentSettings:
    """What `cosnet segment` makes of a video, apart from where the results go.

    Attributes:
      checkpoint: see `Segmenter.from_pretrained`.
      size, num_references, sampling, fusion, seed, temporal_smoothing: as there.
      refine: whether a CRF sharpens the probabilities, with the parameters of the checkpoint's configuration.
      crf_backend: see `CRFParams`; None takes the configuration's.
      threshold: a pixel is foreground where its probability is above this, in [0, 1).
      save_overlay, save_probabilities: whether to write them.
      cutout: one of `segment_cutout.FORMATS`; None for no cut-out, unless there is a background.
      background: of an opaque cut-out, see `Background.parse`.
      feather: pixels by which the edge of the cut-out is softened.
      save_coco: whether to write the masks as JSON of COCO too.

    Raises:
      InputError: the threshold is out of range, the options of the cut-out are wrong, or a backend is named without
        `refine`.
    """

    checkpoint: str | Path = SHIPPED_MODEL
    size: tuple[int, int] | None = None
    num_references: int | None = None
    sampling: str | None = None
    fusion: str | None = None
    seed: int | None = None
    temporal_smoothing: float | None = None
    refine: bool = False
    crf_backend: str | None = None
    threshold: float = 0.5
    save_overlay: bool = True
    save_probabilities: bool = False
    cutout: str | None = None
    background: str | None = None
    feather: float = 0.0
    save_coco: bool = False

    def __post_init__(self):
        if not 0 <= self.threshold < 1:
            raise InputError(f"--threshold is {self.threshold}; expected at least 0 and below 1")
        if self.crf_backend and not self.refine:
            raise InputError(f"--crf-backend is {self.crf_backend}; it needs --crf")
        check_cutout(self.cutout, self.background, self.feather)


class VideoSegmenter:
    """Segments videos into folders, as `ResultWriter` lays them out, with a network that is compiled once.

    When a video is done, the `result.json` of its folder says what was segmented, with which weights and settings, and
    until then that it is unfinished. A video whose folder says the same is not segmented again.

    Args:
      settings: what to make.

    Raises:
      InputError: the checkpoint is missing, the background cannot be read, or an option is wrong.
    """

    def __init__(self, settings: SegmentSettings):
        self._threshold = settings.threshold
        self._outputs = Outputs(
            settings.save_overlay, settings.save_probabilities, settings.save_coco,
            make_cutout(settings.cutout, settings.background, settings.feather),
        )  # fmt: skip
        variables, config = load_checkpoint(settings.checkpoint)
        self._segmenter = Segmenter.from_config(
            config, variables, size=settings.size, num_references=settings.num_references, sampling=settings.sampling,
            fusion=settings.fusion, seed=settings.seed, temporal_smoothing=settings.temporal_smoothing,
        )  # fmt: skip
        params = crf.CRFParams.read(config.inference.crf) if settings.refine else None
        if params and settings.crf_backend:
            params = dataclasses.replace(params, backend=settings.crf_backend)
        if params:
            crf.check_installed(params)
        self._params = params
        self._about = describe_inference(config, variables, self._segmenter, params) | {
            "threshold": settings.threshold,
            "overlay": settings.save_overlay,
            "probabilities": settings.save_probabilities,
            "coco": settings.save_coco,
            "cutout": self._outputs.cutout.record() if self._outputs.cutout else None,
        }

    def is_done(self, video: StoredVideo, folder: Path) -> bool:
        """Tells whether a folder holds the results of this video with these weights and settings."""
        complete = is_complete(folder, video.frame_names, self._outputs)
        return complete and read_record(folder) == self._record(video)

    def segment(self, video: StoredVideo, folder: Path, silent: bool = False) -> None:
        """Segments a video.

        Reading, the network, and the CRF with the writing work at the same time, in memory that does not grow with the
        video's length.

        Args:
          video: the input.
          folder: gets the results.
          silent: show no progress.

        Raises:
          InputError: a frame cannot be read, a result cannot be written, or another process writes to the folder.
        """
        record = self._record(video)
        with claimed(writable_folder(folder), ".segment.lock", "writes results"):
            write_record(folder, UNFINISHED)
            remove_earlier(folder, set(video.frame_names), self._outputs)
            self._write_results(video, folder, silent)
            write_record(folder, record)

    def _write_results(self, video: StoredVideo, folder: Path, silent: bool) -> None:
        references = common_references(self._segmenter.references(len(video)))
        with (
            contextlib.closing(read_ahead(self._segmenter.segment(video))) as segmented,
            contextlib.closing(frames_and_maps(segmented, self._params)) as results,
            ResultWriter(folder, video, self._outputs, references, self._threshold) as writer,
        ):
            for frame, probability in track(results, video.name, len(video), silent):
                writer.write(frame, probability)

    def _record(self, video: StoredVideo) -> dict[str, Any]:
        """What `result.json` says. Files count as the same while their names, sizes and times of change are."""
        with report_read_errors(video.path):
            states = [(file, file.stat()) for file in video.files]
        files = [(file.name, state.st_size, state.st_mtime_ns) for file, state in states]
        digest = hashlib.blake2b(json.dumps(files).encode(), digest_size=16).hexdigest()
        return {**self._about, "input": {"name": video.name, "frames": len(video), "files": digest}}


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Writes the `result.json` of a folder of results."""
    write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")


def read_record(folder: Path) -> Any:
    """Returns what the `result.json` of a folder of results says, or None if it is missing or damaged."""
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


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


def common_references(reference_indices: np.ndarray) -> list[int]:
    """The frames that at least half of a video's frames are compared with, from its `reference_indices` (T, n)."""
    counts = np.bincount(reference_indices.ravel(), minlength=len(reference_indices))
    return np.flatnonzero(counts >= len(reference_indices) / 2).tolist()
