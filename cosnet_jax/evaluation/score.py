"""Scores of a whole benchmark from a folder of predicted masks."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.boundary import boundary_f
from cosnet_jax.evaluation.predictions import check_predictions, read_masks
from cosnet_jax.evaluation.protocols import (
    Protocol,
    average_categories,
    average_stability,
    category_of,
    counted_frames,
    get_protocol,
)
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.evaluation.stability import temporal_instability
from cosnet_jax.evaluation.statistics import mean_over_sequences, mean_recall_decay
from cosnet_jax.processes import map_in_processes, usable_cores
from cosnet_jax.progress import track

FRAME_MEASURES = {"J": jaccard, "F": boundary_f}


def score_masks(
    sequences: Sequence,
    masks_dir: str | Path,
    protocol: str = "davis16",
    metrics: Sequence[str] = ("J", "F"),
    processes: int | None = None,
    dataset: str = "",
    split: str = "",
    config: dict | None = None,
) -> dict:
    """Scores the predicted masks of a benchmark.

    Args:
      sequences: objects with `name`, `frames` (names without suffix), `annotated` (positions of the frames that have a
        ground truth) and `mask(i)` -> (h, w) bool; they must be picklable unless `processes` is 1.
      masks_dir: `<sequence>/<frame>.png`; `predictions.read_masks` says how each kind of PNG is binarised.
      protocol: davis16 (also for the synthetic videos), fbms or youtube_objects.
      metrics: any of "J", "F" and, for davis16, "T".
      processes: worker processes, at most one a sequence; None for one a core, 1 for this process alone.
      dataset: copied into the results; the protocol's name by default.
      split: copied into the results.
      config: copied into the results; must be JSON-able.

    Returns:
      The contents of `results.json`, all scores in [0, 1]: "dataset", "split", "sequences" (their number),
      "J" and "F" (each "mean", "recall", "decay"), "T" ("mean" and the "sequences" it is over), "per_sequence"
      (name -> "J", "J_recall", "J_decay", "F", ..., "T"), "per_frame" (name -> "frames", "J", "F": the frames that
      count), "config". All averages are over sequences; youtube_objects also has "per_category" (category -> "J", "F")
      and "over_categories" ("J" and "F" as above, but every category with the same weight).

    Raises:
      InputError: the predictions are incomplete, too many, of the wrong size or unreadable; a name is unknown.
    """
    rules = get_protocol(protocol)
    check_scoring(sequences, protocol, metrics)
    check_predictions(masks_dir, sequences, rules)

    work = functools.partial(score_sequence, masks_dir=Path(masks_dir), protocol=rules, metrics=tuple(metrics))
    scored = dict(track(_map_sequences(work, sequences, processes), "scoring", total=len(sequences)))
    scored = {sequence.name: scored[sequence.name] for sequence in sequences}
    about = {"dataset": dataset or protocol, "split": split, "sequences": len(sequences)}
    return about | average(scored, rules, metrics) | {"config": config or {}}


def check_scoring(sequences: Sequence, protocol: str, metrics: Sequence[str]) -> None:
    """Checks that sequences can be scored by a protocol, before there are any predictions.

    Args:
      sequences, protocol, metrics: as in `score_masks`.

    Raises:
      InputError: the protocol or one of the metrics is unknown, there are no sequences, or one has no annotation or
        (where it must) no category.
    """
    rules = get_protocol(protocol)
    unknown = [metric for metric in metrics if metric not in rules.metrics]
    if unknown or not metrics:
        raise InputError(f"metrics {list(metrics)}: protocol {protocol} has {', '.join(rules.metrics)}")
    if not sequences:
        raise InputError("there are no sequences to score")
    for sequence in sequences:
        if not sequence.annotated:
            raise InputError(f"sequence {sequence.name!r} has no annotated frame")
        if rules.by_category:
            category_of(sequence.name)


def average(scored: Mapping[str, Mapping], protocol: Protocol, metrics: Sequence[str]) -> dict:
    """Averages the scores of the frames over frames, sequences and, where the protocol says so, categories.

    Args:
      scored: name of a sequence -> what `score_sequence` tells of it.
      protocol: the benchmark's rules.
      metrics: any of "J", "F", "T".

    Returns:
      The scores in `score_masks`'s results, from "J" to "per_frame".
    """
    results: dict = {}
    per_sequence: dict[str, dict] = {name: {} for name in scored}
    for metric in [metric for metric in FRAME_MEASURES if metric in metrics]:
        statistics = {name: mean_recall_decay(values[metric]) for name, values in scored.items()}
        for name, values in statistics.items():
            per_sequence[name] |= {
                metric: values["mean"],
                f"{metric}_recall": values["recall"],
                f"{metric}_decay": values["decay"],
            }
        results[metric] = mean_over_sequences(list(statistics.values()))
        if protocol.by_category:
            categories = average_categories(statistics)
            for category, values in categories.items():
                results.setdefault("per_category", {}).setdefault(category, {})[metric] = values["mean"]
            results.setdefault("over_categories", {})[metric] = mean_over_sequences(list(categories.values()))
    if "T" in metrics:
        for name, values in scored.items():
            per_sequence[name]["T"] = values["T"]
        results["T"] = average_stability({name: values["T"] for name, values in scored.items()})
    results["per_sequence"] = per_sequence
    results["per_frame"] = {
        name: {key: values[key] for key in ("frames", *FRAME_MEASURES) if key in values}
        for name, values in scored.items()
    }
    return results


def score_sequence(sequence, masks_dir: Path, protocol: Protocol, metrics: Sequence[str]) -> dict:
    """Scores one sequence.

    Args:
      sequence: see `score_masks`.
      masks_dir: see `score_masks`.
      protocol: the benchmark's rules.
      metrics: any of "J", "F", "T".

    Returns:
      "frames" (names of those that count), "J" and "F" (a list of one value a frame that
      counts) and "T" (None where no pair of frames has two contours).
    """
    truths, counted = read_truths(sequence, protocol)
    paths = [masks_dir / sequence.name / f"{sequence.frame_names[i]}.png" for i in counted]
    predictions = dict(zip(counted, read_masks(paths), strict=True))
    for i, path in zip(counted, paths, strict=True):
        if predictions[i].shape != truths[i].shape:
            given, expected = predictions[i].shape, truths[i].shape
            raise InputError(f"{path}: mask of {given} pixels, but the ground truth has {expected}")

    scores: dict = {"frames": [sequence.frame_names[i] for i in counted]}
    for metric in [metric for metric in FRAME_MEASURES if metric in metrics]:
        scores[metric] = [FRAME_MEASURES[metric](predictions[i], truths[i]) for i in counted]
    if "T" in metrics:
        value = temporal_instability(truths[0], [predictions[i] for i in counted])
        scores["T"] = None if math.isnan(value) else value
    return scores


def read_truths(sequence, protocol: Protocol) -> tuple[list[np.ndarray | None], list[int]]:
    """Reads the ground truth of a sequence.

    Args:
      sequence: see `score_masks`.
      protocol: the benchmark's rules.

    Returns:
      (h, w) bool for each frame, None where there is no annotation; and the positions of the frames that count.

    Raises:
      InputError: no frame counts, or one lacks the annotation that the protocol needs.
    """
    truths: list = [None] * len(sequence.frame_names)
    for i in sequence.annotated:
        truths[i] = sequence.mask(i)
    try:
        return truths, counted_frames(protocol, truths)
    except InputError as error:
        raise InputError(f"sequence {sequence.name!r}: {error}") from error


def _map_sequences(work, sequences: Sequence, processes: int | None) -> Iterator[tuple[str, dict]]:
    """Yields the name of each sequence and `work(sequence)`, the longest sequence first for an even load."""
    processes = min(processes or usable_cores(), len(sequences))
    longest_first = sorted(sequences, key=lambda sequence: -len(sequence.annotated))
    if processes == 1:
        yield from ((sequence.name, work(sequence)) for sequence in longest_first)
    else:
        alone = functools.partial(_on_one_thread, work)
        yield from map_in_processes(alone, ((sequence.name, (sequence,)) for sequence in longest_first), processes)


def _on_one_thread(work, sequence) -> dict:
    """Keeps OpenCV from starting threads of its own in every worker process."""
    cv2.setNumThreads(1)
    return work(sequence)
