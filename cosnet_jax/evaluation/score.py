"""Scores of a whole benchmark from a folder of predicted masks."""

from __future__ import annotations

import functools
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.boundary import boundary_f
from cosnet_jax.evaluation.ground_truth import GroundTruth, named, read_ground_truth
from cosnet_jax.evaluation.predictions import check_predictions, read_sequence_masks
from cosnet_jax.evaluation.protocols import (
    Protocol,
    average_categories,
    average_stability,
    category_of,
    check_annotated,
    get_protocol,
)
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.evaluation.stability import temporal_instability
from cosnet_jax.evaluation.statistics import mean_over_sequences, mean_recall_decay
from cosnet_jax.progress import track
from cosnet_jax.threads import usable_cores

FRAME_MEASURES = {"J": jaccard, "F": boundary_f}


def score_masks(
    sequences: Sequence[GroundTruth],
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
      sequences: the ground truth; picklable unless `processes` is 1.
      masks_dir: holds `<sequence>/<frame>.png`; `cosnet_jax.video.masks` says how each kind is binarised.
      protocol: one of `PROTOCOLS`, see `get_protocol`.
      metrics: any of "J", "F" and, for davis16, "T".
      processes: number of worker processes, at most one per sequence; None for one per core, 1 for this process alone.
      dataset: copied into the results; the protocol's name by default.
      split: copied into the results.
      config: copied into the results; must be JSON-able.

    Returns:
      The contents of `results.json`, all scores in [0, 1]: "dataset", "split", "sequences" (their number),
      "J" and "F" (each "mean", "recall", "decay"), "T" ("mean" and the "sequences" it is averaged over), "per_sequence"
      (name -> "J", "J_recall", "J_decay", "F", ..., "T"), "per_frame" (name -> "frames", "J", "F" of the evaluated
      frames), "empty" (number of evaluated frames without any foreground, where an empty prediction has J = 1),
      "not_scored" (folders of masks that belong to no sequence) and "config". All averages are over sequences.
      youtube_objects also has "per_category" (category -> "J", "F")
      and "over_categories" ("J" and "F" as above, but every category has the same weight).

    Raises:
      InputError: predictions are missing, superfluous, of the wrong size or unreadable; a name is unknown; or no
        evaluated frame has any foreground, so that nothing can be measured.
    """
    rules = get_protocol(protocol)
    check_scoring(sequences, protocol, metrics)
    others = check_predictions(masks_dir, sequences, rules)

    score = functools.partial(score_sequence, masks_dir=Path(masks_dir), protocol=rules, metrics=tuple(metrics))
    scores = dict(track(_score_sequences(score, sequences, processes), "scoring", total=len(sequences)))
    scores = {sequence.name: scores[sequence.name] for sequence in sequences}
    empty = sum(values["empty"] for values in scores.values())
    if empty == sum(len(values["frames"]) for values in scores.values()):
        raise InputError("the ground truth of every evaluated frame is empty: there is nothing to find, so no score")
    about = {"dataset": dataset or protocol, "split": split, "sequences": len(sequences)}
    checks = {"empty": empty, "not_scored": others, "config": config or {}}
    return about | average_scores(scores, rules, metrics) | checks


def check_scoring(sequences: Sequence[GroundTruth], protocol: str, metrics: Sequence[str]) -> None:
    """Checks that a protocol can score these sequences, before there are any predictions.

    Args:
      sequences, protocol, metrics: as in `score_masks`.

    Raises:
      InputError: the protocol or a metric is unknown, there are no sequences, or a sequence has no annotation or no
        category where it must have one.
    """
    rules = get_protocol(protocol)
    unknown = [metric for metric in metrics if metric not in rules.metrics]
    if unknown or not metrics:
        raise InputError(
            f"evaluation.metrics are {list(metrics)}; expected some of {', '.join(rules.metrics)} for {protocol}"
        )
    if not sequences:
        raise InputError("there are no sequences to score; expected a data.eval_split that has some")
    for sequence in sequences:
        with named(sequence):
            check_annotated(rules, sequence.annotated, len(sequence.frame_names))
        if rules.by_category:
            category_of(sequence.name)


def average_scores(per_sequence: Mapping[str, Mapping], protocol: Protocol, metrics: Sequence[str]) -> dict:
    """Averages scores over frames, then over sequences and, where the protocol says so, over categories.

    Args:
      per_sequence: sequence name -> its scores as `score_sequence` returns them.
      protocol: the benchmark's rules.
      metrics: any of "J", "F", "T".

    Returns:
      The entries of `score_masks`'s results from "J" to "per_frame".
    """
    results: dict = {}
    averages: dict[str, dict] = {name: {} for name in per_sequence}
    for metric in [metric for metric in FRAME_MEASURES if metric in metrics]:
        statistics = {name: mean_recall_decay(scores[metric]) for name, scores in per_sequence.items()}
        for name, values in statistics.items():
            averages[name] |= {
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
        for name, scores in per_sequence.items():
            averages[name]["T"] = scores["T"]
        results["T"] = average_stability({name: scores["T"] for name, scores in per_sequence.items()})
    results["per_sequence"] = averages
    results["per_frame"] = {
        name: {key: scores[key] for key in ("frames", *FRAME_MEASURES) if key in scores}
        for name, scores in per_sequence.items()
    }
    return results


def score_sequence(sequence: GroundTruth, masks_dir: Path, protocol: Protocol, metrics: Sequence[str]) -> dict:
    """Scores one sequence.

    Args:
      sequence: its ground truth.
      masks_dir: as in `score_masks`.
      protocol: the benchmark's rules.
      metrics: any of "J", "F", "T".

    Returns:
      "frames" (names of the evaluated frames), "empty" (number of those without foreground), "J" and "F" (a list of
      one value per evaluated frame) and "T" (None where no pair of neighbouring frames has two contours, or the first
      frame has no ground truth).

    Raises:
      InputError: a predicted mask has another size than the ground truth, or cannot be read.
    """
    truths, evaluated = read_ground_truth(sequence, protocol)
    predictions = read_sequence_masks(masks_dir, sequence, evaluated)
    for i in evaluated:
        if predictions[i].shape != truths[i].shape:
            given, expected = predictions[i].shape, truths[i].shape
            place = masks_dir / sequence.name / f"{sequence.frame_names[i]}.png"
            raise InputError(f"{place}: mask of {given} pixels, but the ground truth has {expected}")

    scores: dict = {
        "frames": [sequence.frame_names[i] for i in evaluated],
        "empty": sum(not truths[i].any() for i in evaluated),
    }
    for metric in [metric for metric in FRAME_MEASURES if metric in metrics]:
        scores[metric] = [FRAME_MEASURES[metric](predictions[i], truths[i]) for i in evaluated]
    if "T" in metrics:
        value = temporal_instability(truths[0], [predictions[i] for i in evaluated]) if 0 in truths else math.nan
        scores["T"] = None if math.isnan(value) else value
    return scores


def _score_sequences(
    score: Callable[[GroundTruth], dict], sequences: Sequence[GroundTruth], processes: int | None
) -> Iterator[tuple[str, dict]]:
    """Yields the name and the scores of each sequence, the longest sequence first, for an even load."""
    processes = min(processes or usable_cores(), len(sequences))
    longest_first = sorted(sequences, key=lambda sequence: -len(sequence.annotated))
    if processes == 1:
        yield from ((sequence.name, score(sequence)) for sequence in longest_first)
        return
    context = multiprocessing.get_context("spawn")  # a process that runs JAX must not fork
    with ProcessPoolExecutor(processes, context, _prepare_worker) as pool:
        yield from zip((sequence.name for sequence in longest_first), pool.map(score, longest_first), strict=True)


def _prepare_worker() -> None:
    """Lets a worker use one thread, leave Ctrl-C to its parent, and end when its parent has ended."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)
