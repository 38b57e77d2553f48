"""The search for the CRF's parameters on validation frames: the release's nine settings, scored by mean J."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.checkpoints import store as checkpoints
from cosnet_jax.config import as_stored, check_config, inference_size
from cosnet_jax.data.sequences import open_validation_sequences
from cosnet_jax.evaluation.protocols import get_protocol
from cosnet_jax.evaluation.results_file import write_results
from cosnet_jax.evaluation.score import check_scoring, read_truths
from cosnet_jax.files import writable_folder
from cosnet_jax.inference import crf
from cosnet_jax.inference.crf import RELEASE_SETTINGS
from cosnet_jax.inference.segmenter import InferenceOptions, Segmenter
from cosnet_jax.models.build import build_model
from cosnet_jax.progress import track
from cosnet_jax.report.tables import Table, percent
from cosnet_jax.video.frames import SequenceFrames

RESULTS_FILE = "crf_search.json"
VARIED = ("bilateral_sxy", "bilateral_compat")


def search_crf(config: ConfigDict, workdir: str | Path, checkpoint: str | Path) -> str:
    """Scores the release's settings of the CRF by mean J, and the maps before it.

    The frames are those of validation during training: `config.validate_frames` evenly spaced ones of each of the
    sequences that `config.data.hold_out` names, or else of the evaluation's split. Only those that count are taken.

    Args:
      config: the whole configuration; its model must be the checkpoint's. `config.inference` says how frames are
        segmented, and what the settings have in common.
      workdir: gets `crf_search.json`.
      checkpoint: see `checkpoints.find`.

    Returns:
      The table, in Markdown, and the best setting as flags.

    Raises:
      InputError: if the data or the checkpoint do not fit, or pydensecrf2 is not installed.
    """
    check_config(config)
    base = crf.params_of(config.inference.crf)
    crf.check_installed()
    workdir = writable_folder(workdir)
    variables = checkpoints.load_matching(config, checkpoint)
    setting = InferenceOptions(
        config.inference.num_references, config.inference.sampling, config.inference.fusion, config.seed
    )
    segmenter = Segmenter(build_model(config.model), variables, inference_size(config), setting)
    sequences = open_validation_sequences(config.data)
    dataset = config.data.train_videos if config.data.hold_out else config.data.eval_dataset
    protocol = "davis16" if dataset == "synthetic" else dataset
    check_scoring(sequences, protocol, ("J",))

    chosen = [choose_frames(sequence, protocol, config.validate_frames) for sequence in sequences]
    settings = [dataclasses.replace(base, **{key: getattr(line, key) for key in VARIED}) for line in RELEASE_SETTINGS]
    examples = track(segmented(segmenter, sequences, chosen), "searching", sum(map(len, chosen)))
    scores = crf.score_settings(examples, [None, *settings])  # (sequence, frame) -> J without CRF, J of each setting

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
        "frames": {s.name: [s.frames[i] for i in indices] for s, indices in zip(sequences, chosen, strict=True)},
        "without_crf": without,
        "settings": [dataclasses.asdict(params) | line for params, line in zip(settings, with_crf, strict=True)],
        "config": as_stored(config),
    }
    write_results(workdir / RESULTS_FILE, results)
    return f"{describe(results)}\n{workdir / RESULTS_FILE}"


def choose_frames(sequence: Sequence, protocol: str, count: int) -> list[int]:
    """Evenly spaced frames of those that count.

    Args:
      sequence: see `data.sequences.Sequence`.
      protocol: see `get_protocol`.
      count: how many at most; 0: all.

    Returns:
      Their positions, ascending.
    """
    _, counted = read_truths(sequence, get_protocol(protocol))
    places = np.linspace(0, len(counted) - 1, min(count or len(counted), len(counted))).round().astype(int)
    return [counted[place] for place in places]


def segmented(
    segmenter: Segmenter, sequences: Sequence, chosen: Sequence[Sequence[int]]
) -> Iterator[tuple[tuple[str, int], np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (sequence name, frame index), image, probability and ground truth of the chosen frames."""
    for sequence, indices in zip(sequences, chosen, strict=True):
        maps = segmenter.stream_settings(SequenceFrames(sequence), [segmenter.setting], indices)
        for index, (probability,) in zip(indices, maps, strict=True):
            image, truth = sequence.read(index)
            yield (sequence.name, index), image, probability, truth


def describe(results: dict) -> str:
    """The table of the settings, and the best one as flags."""
    alone, lines = results["without_crf"]["J"], results["settings"]
    best = max(lines, key=lambda line: line["J"])
    rows = [("without CRF", "", percent(alone), "")]
    for line in lines:
        gain = f"{100 * (line['J'] - alone):+.1f}"
        name = f"{line['bilateral_sxy']:g}" + (" (best)" if line is best else "")
        rows.append((name, f"{line['bilateral_compat']:g}", percent(line["J"]), gain))
    frames = sum(map(len, results["frames"].values()))
    caption = f"Mean J of {frames} frames of {len(results['frames'])} sequences of {results['dataset']}."
    table = Table(("bilateral_sxy", "bilateral_compat", "J", "gain"), rows, caption=caption)
    flags = " ".join(f"--config.inference.crf.{key}={best[key]:g}" for key in VARIED)
    advice = f"best: {flags}" if best["J"] > alone else "no setting is better than no CRF"
    return f"{table.markdown()}\n{advice}"
