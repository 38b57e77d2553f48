"""Segments one video after the other with one network, as `cosnet segment` does, and knows what is done already."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cosnet_jax import parallel
from cosnet_jax.checkpoints.load import SHIPPED_MODEL, load_checkpoint
from cosnet_jax.commands.segment_output import ResultWriter, is_complete, make_outputs
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import claimed, report_read_errors, writable_folder, write_text
from cosnet_jax.inference import crf
from cosnet_jax.inference.keep_object import keep_object
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.inference.provenance import describe_inference, digest_of_json
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.progress import track
from cosnet_jax.threads import read_ahead
from cosnet_jax.video.find import RECORD
from cosnet_jax.video.reader import StoredVideo, open_video

OUTPUT_SETTINGS = ("save_overlay", "save_probabilities", "cutout", "background", "feather")
STATUSES = ("done", "found", "failed")  # found: it was done before


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a video."""

    input: Path
    output: Path  # the folder of its results
    status: str  # one of `STATUSES`
    frames: int = 0  # 0 where the video could not be opened
    seconds: float = 0.0  # of work
    error: str = ""  # why it failed


class VideoProcessor:
    """Segments videos into folders, as `ResultWriter` lays them out, with a network that is compiled once.

    When a video is done, the `result.json` of its folder says what was segmented, with which weights and settings, and
    what was written. A video whose folder says the same is not segmented again.
    """

    def __init__(
        self,
        checkpoint: str | Path = SHIPPED_MODEL,
        *,
        fps: Fraction | None = None,
        keep: tuple[int, int, int] | None = None,
        threshold: float = 0.5,
        refine: bool = False,
        crf_backend: str | None = None,
        **settings: Any,
    ):
        """Loads the network.

        Args:
          checkpoint: see `Segmenter.from_pretrained`.
          fps: frame rate of videos that do not tell their own, see `StoredVideo.at_rate`.
          keep: (x, y, frame) of the only object to keep, see `keep_object`.
          threshold: a pixel is foreground where its probability is above this.
          refine: whether a CRF sharpens the maps.
          crf_backend: its implementation, which turns it on; None: the configuration's.
          **settings: of `make_outputs`; and of `InferenceConfig`, where None is the checkpoint's.

        Raises:
          InputError: the checkpoint is missing, the background cannot be read, or an option is wrong.
        """
        self._fps, self._keep, self._threshold = fps, keep, threshold
        drawn = {name: settings.pop(name) for name in OUTPUT_SETTINGS if name in settings}
        self._outputs = make_outputs(threshold=threshold, **drawn)
        variables, config = load_checkpoint(checkpoint)
        params = InferenceConfig.read(config.inference).crf
        is_refined, backend = refine or bool(crf_backend), crf_backend or params.backend
        params = dataclasses.replace(params, enabled=is_refined, backend=backend)
        if is_refined:
            crf.check_installed(params)
        self._segmenter = Segmenter.from_config(config, variables, crf=params, **settings)
        self._about = {**describe_inference(self._segmenter), "threshold": threshold, "keep": keep and list(keep)}

    def run(self, path: Path, folder: Path) -> Outcome:
        """Opens and segments a video, unless it is done; what goes wrong with it is in the outcome."""
        start, frames, status, problem = time.monotonic(), 0, "failed", ""
        try:
            video = open_video(path) if self._fps is None else open_video(path).at_rate(self._fps)
            frames = len(video)
            with claimed(writable_folder(folder), ".lock", "writes results"):
                status = "done" if self._process(video, folder) else "found"
        except InputError as error:
            problem = str(error)
        return Outcome(path, folder, status, frames, round(time.monotonic() - start, 3), problem)

    def _process(self, video: StoredVideo, folder: Path) -> bool:
        """Segments a video, or returns False if that was done before. Other results of an earlier run stay."""
        about, wanted, record = self._describe(video), {each.name: each.settings for each in self._outputs}, {}
        with contextlib.suppress(OSError, ValueError):  # there is none, or it is damaged
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        earlier = record.get("outputs", {})
        same = earlier if record.get("maps") == about else {}
        if wanted.items() <= same.items() and is_complete(folder, video, self._outputs):
            return False
        write_text(folder / RECORD, json.dumps({"outputs": earlier}))  # the folder is known as one of results
        for part in folder.rglob(".*.part"):  # of a process that was killed
            part.unlink()
        for name in earlier.keys() - same.keys() - wanted.keys():
            print(printable(f"{folder / name}: an earlier run made it of other masks; it stays as it is"))
        references = common_references(self._segmenter.references(len(video)))
        with (
            contextlib.closing(frames_and_maps(self._segmenter, video, self._keep, self._threshold)) as results,
            ResultWriter(folder, video, self._outputs, references) as writer,
        ):
            for frame, probability in track(results, f"{video.name} on {parallel.describe()}", len(video)):
                writer.write(frame, probability)
        write_text(folder / RECORD, json.dumps({"maps": about, "outputs": same | wanted}, indent=2) + "\n")
        return True

    def _describe(self, video: StoredVideo) -> dict[str, Any]:
        """What decides the masks. Files count as the same while their names, sizes and times of change are."""
        with report_read_errors(video.path):
            states = [(file, file.stat()) for file in video.files]
        files = [(file.name, state.st_size, state.st_mtime_ns) for file, state in states]
        about = {"name": video.name, "frames": len(video), "fps": str(video.fps), "files": digest_of_json(files)}
        return {**self._about, "input": about}


def frames_and_maps(
    segmenter: Segmenter, video: StoredVideo, keep: tuple[int, int, int] | None = None, threshold: float = 0.5
) -> Generator[tuple[np.ndarray, np.ndarray]]:
    """Segments a video: reading, the network and a CRF work at the same time, in threads.

    Args:
      segmenter: the network; if its configuration says so, a CRF sharpens the maps.
      video: the video.
      keep: (x, y, frame) of the object to keep, see `keep_object`, with the `threshold`; None keeps all.

    Yields:
      Each frame (H, W, 3) uint8 with its probabilities (H, W), in memory that does not grow with the video.

    Raises:
      InputError: a frame cannot be read, or there is nothing to keep.
    """
    params = segmenter.config.crf
    with contextlib.ExitStack() as stages:
        predictions = stages.enter_context(contextlib.closing(read_ahead(segmenter.predict(video))))
        results = ((frame, maps[0]) for _, frame, maps in predictions)
        if params.enabled:
            refined = crf.refine_stream(((frame, frame, map_) for frame, map_ in results), params)
            results = stages.enter_context(contextlib.closing(refined))
        if keep:
            (height, width), (x, y, number) = video.size, keep
            if x >= width or y >= height or number >= len(video):
                raise InputError(
                    f"--keep is {x},{y},{number}; {video.path} has {len(video)} frames of {width} x {height} pixels"
                )
            # The frames are read again: those up to the click are not held.
            yield from zip(video, keep_object((map_ for _, map_ in results), *keep, threshold), strict=True)
        else:
            yield from results


def common_references(reference_indices: np.ndarray) -> list[int]:
    """The frames that at least half of a video's frames are compared with, from its `reference_indices` (T, n)."""
    counts = np.bincount(reference_indices.ravel(), minlength=len(reference_indices))
    return np.flatnonzero(counts >= len(reference_indices) / 2).tolist()
