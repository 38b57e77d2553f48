"""`cosnet search-crf`: the CRF's settings, scored by mean J on validation frames."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.checkpoints.store import load_checkpoint_for
from cosnet_jax.commands.config_arguments import add_config_arguments
from cosnet_jax.config import as_stored, check_config, read_config
from cosnet_jax.data.sequences import open_validation_sequences
from cosnet_jax.evaluation.ground_truth import GroundTruth, read_ground_truth
from cosnet_jax.evaluation.protocols import get_protocol, protocol_of
from cosnet_jax.evaluation.results_file import write_results
from cosnet_jax.evaluation.score import check_scoring
from cosnet_jax.files import writable_folder
from cosnet_jax.inference import crf
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.progress import track
from cosnet_jax.report.tables import Table, percent
from cosnet_jax.video.video import evenly_spaced_indices

RESULTS_FILE = "crf_search.json"
SHOWN = 10  # rows of the table; the file has all
# Around the release's values (10 to 20, 7, 8 to 10, 1, 5). The first two come first: settings that differ only in the
# others share the costly part of the work.
GRID = {
    "bilateral_sxy": (10.0, 15.0, 20.0, 30.0),
    "bilateral_srgb": (5.0, 7.0, 10.0),
    "bilateral_compat": (5.0, 9.0, 14.0),
    "gaussian_sxy": (1.0, 3.0),
    "gaussian_compat": (2.0, 5.0),
}


EXAMPLE = (
    "cosnet search-crf --config=configs/davis16_lite.py --checkpoint=out/lite --workdir=out/crf "
    "--config.data.train_videos=davis16 --config.data.hold_out=bear,bus --config.validate_frames=8"
)
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_config_arguments(parser, "crf_search.json")


def run(arguments: argparse.Namespace) -> int:
    """Prints the table."""
    config = read_config(arguments.config, arguments.overrides)
    print(search_crf(config, arguments.workdir, arguments.checkpoint))
    return 0


def search_crf(config: ConfigDict, workdir: str | Path, checkpoint: str | Path) -> str:
    """Scores the settings of `GRID`, that of the configuration, and the maps without CRF by mean J.

    The frames are those of validation during training: `config.validate_frames` evenly spaced ones of each of the
    sequences that `config.data.hold_out` names, or else of the evaluation's split. Only evaluated frames are taken.

    Args:
      config: the whole configuration; its model must be the checkpoint's. `config.inference` says how frames are
        segmented, all but the smoothing along the video, and what the settings of the grid have in common.
      workdir: gets `crf_search.json`.
      checkpoint: see `load_checkpoint`.

    Returns:
      The table of the best settings, in Markdown, and the best one as flags.

    Raises:
      InputError: if the data or the checkpoint do not fit, or the backend of the CRF is not installed.
    """
    check_config(config)
    base = crf.params_from_config(config.inference.crf)
    crf.check_installed(base)
    workdir = writable_folder(workdir)
    variables = load_checkpoint_for(config, checkpoint)
    segmenter = Segmenter.from_config(config, variables, temporal_smoothing=0.0)  # the frames are no neighbours in time
    sequences = open_validation_sequences(config.data)
    dataset = config.data.eval_dataset  # the rules by which held-out sequences are scored too
    protocol = protocol_of(dataset)
    check_scoring(sequences, protocol, ("J",))

    chosen = [choose_frames(sequence, protocol, config.validate_frames) for sequence in sequences]
    grid: Iterator[dict[str, Any]] = (
        dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())
    )
    settings = list(dict.fromkeys([base, *(dataclasses.replace(base, **line) for line in grid)]))
    scored = crf.score_settings(segmented(segmenter, sequences, chosen), [None, *settings])
    # (sequence, frame) -> J without CRF, J of each setting
    scores = dict(track(scored, "searching", sum(map(len, chosen))))

    per_sequence = [
        [float(np.mean(row)) for row in zip(*(scores[sequence.name, index] for index in indices), strict=True)]
        for sequence, indices in zip(sequences, chosen, strict=True)
    ]
    without, *with_crf = [
        {"J": float(np.mean(row)), "per_sequence": {s.name: J for s, J in zip(sequences, row, strict=True)}}
        for row in zip(*per_sequence, strict=True)
    ]
    results = {
        "dataset": dataset,
        "frames": {s.name: [s.frame_names[i] for i in indices] for s, indices in zip(sequences, chosen, strict=True)},
        "without_crf": without,
        "settings": [dataclasses.asdict(params) | line for params, line in zip(settings, with_crf, strict=True)],
        "config": as_stored(config),
    }
    write_results(workdir / RESULTS_FILE, results)
    return f"{describe(results)}\n{workdir / RESULTS_FILE}"


def choose_frames(sequence: GroundTruth, protocol: str, count: int) -> list[int]:
    """Chooses evenly spaced frames of the evaluated ones.

    Args:
      sequence: its ground truth.
      protocol: see `get_protocol`.
      count: how many at most; 0: all.

    Returns:
      Their indices, ascending.
    """
    _, evaluated = read_ground_truth(sequence, get_protocol(protocol))
    return [evaluated[position] for position in evenly_spaced_indices(len(evaluated), count)]


def segmented(
    segmenter: Segmenter, sequences: Sequence, chosen: Sequence[Sequence[int]]
) -> Iterator[tuple[tuple[str, int], np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (sequence name, frame number), image, probability and ground truth of the chosen frames."""
    for sequence, indices in zip(sequences, chosen, strict=True):
        for index, frame, (probability,) in segmenter.segment(sequence, queries=indices):
            yield (sequence.name, index), frame, probability, sequence.mask(index)


def describe(results: dict) -> str:
    """Writes the table of the best settings, the configuration's setting, and the best one as flags."""
    alone, configured, lines = results["without_crf"]["J"], results["settings"][0], results["settings"]
    ranked = sorted(lines, key=lambda line: -line["J"])
    best = ranked[0]

    def row(name: str, line: dict) -> tuple[str, ...]:
        values = (f"{line[key]:g}" if key in line else "" for key in GRID)
        return name, *values, percent(line["J"]), f"{100 * (line['J'] - alone):+.1f}"

    rows = [row("without CRF", {"J": alone}), row("configuration", configured)]
    rows += [row(str(rank), line) for rank, line in enumerate(ranked[:SHOWN], 1)]
    frames = sum(map(len, results["frames"].values()))
    caption = (
        f"Mean J of {frames} frames of {len(results['frames'])} sequences of {results['dataset']}; "
        f"the best of {len(lines)} settings."
    )
    table = Table(("", *GRID, "J", "gain"), rows, caption=caption)
    flags = " ".join(f"--config.inference.crf.{key}={best[key]:g}" for key in GRID)
    advice = f"best: {flags}" if best["J"] > alone else "no setting is better than no CRF"
    return f"{table.to_markdown()}\n{advice}"
