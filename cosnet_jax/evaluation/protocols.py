"""The rules of the benchmarks: which frames they evaluate, and how they average sequences."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping

import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.statistics import mean_over_sequences
from cosnet_jax.section import Section, setting

# DAVIS-2016 averages T over the sequences of val without occlusions and without fast deformation.
STABLE_SEQUENCES = (
    "blackswan",
    "camel",
    "car-roundabout",
    "car-shadow",
    "cows",
    "drift-straight",
    "kite-surf",
    "paragliding-launch",
    "scooter-black",
    "soapbox",
)


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(Section, name="evaluation"):
    """What an evaluation measures."""

    metrics: str = "J,F"  # of J, F and T, as far as the benchmark defines them
    sequences: str = ""  # names of the sequences to evaluate, with commas between them; all by default
    players: int = setting(24, low=0)  # frames of each sequence that its page beside the report plays; 0: no pages
    shows_shipped: bool = False  # the report begins with the shipped model on the sample clip


CATEGORIES = ("aeroplane", "bird", "boat", "car", "cat", "cow", "dog", "horse", "motorbike", "train")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a benchmark scores a sequence.

    Attributes:
      every_frame: a frame without annotation that counts is an error; otherwise it is not evaluated.
      drop_ends: the first and the last frame of a sequence are not evaluated.
      skip_empty: frames whose ground truth is empty are not evaluated.
      by_category: the average of each category and the average over categories are reported too.
      metrics: the measures that the benchmark defines.
    """

    every_frame: bool = False
    drop_ends: bool = False
    skip_empty: bool = False
    by_category: bool = False
    metrics: tuple[str, ...] = ("J", "F")


PROTOCOLS = {
    "davis16": Protocol(every_frame=True, drop_ends=True, metrics=("J", "F", "T")),
    "fbms": Protocol(skip_empty=True),
    "youtube_objects": Protocol(by_category=True),
    "videos": Protocol(),
}


def get_protocol(name: str) -> Protocol:
    """Returns the protocol of a benchmark: davis16 (also for the synthetic videos), fbms or youtube_objects; or of
    the user's own videos, whose annotated frames all count."""
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol {name!r}; expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def protocol_of(dataset: str) -> str:
    """Returns the name of the protocol that scores a dataset: the synthetic videos are scored as DAVIS-2016."""
    return "davis16" if dataset == "synthetic" else dataset


def evaluated_frames(protocol: Protocol, truths: Mapping[int, np.ndarray], num_frames: int) -> list[int]:
    """Lists the frames of a sequence that a benchmark evaluates.

    Args:
      protocol: the benchmark's rules.
      truths: frame index -> ground truth, (h, w) bool, for the annotated frames.
      num_frames: length of the sequence.

    Returns:
      Frame indices, ascending.

    Raises:
      InputError: no frame is evaluated, or a frame lacks the annotation that the protocol needs.
    """
    annotated = sorted(truths)
    check_annotated(protocol, annotated, num_frames)
    scored = range(1, num_frames - 1) if protocol.drop_ends else range(num_frames)
    evaluated = [i for i in annotated if i in scored and (truths[i].any() or not protocol.skip_empty)]
    if not evaluated:
        raise InputError("no annotated frame has any foreground, but at least 1 annotated frame with foreground counts")
    return evaluated


def check_annotated(protocol: Protocol, annotated: Collection[int], num_frames: int) -> None:
    """Raises an InputError if the protocol needs more annotated frames of a sequence than there are.

    Args:
      protocol: the benchmark's rules.
      annotated: indices of the annotated frames.
      num_frames: length of the sequence.
    """
    scored = range(1, num_frames - 1) if protocol.drop_ends else range(num_frames)
    if not set(scored) & set(annotated):
        kind = "annotated frame other than the first and the last" if protocol.drop_ends else "annotated frame"
        raise InputError(f"{len(annotated)} of {num_frames} frames are annotated; expected an {kind}")
    missing = sorted(set(scored) - set(annotated)) if protocol.every_frame else []
    if missing:
        raise InputError(f"frame number {missing[0]} has no annotation, but the protocol needs one for it")


def average_categories(per_sequence: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Averages one measure over the sequences of each YouTube-Objects category.

    Args:
      per_sequence: sequence name -> "mean", "recall", "decay".

    Returns:
      Category -> "mean", "recall", "decay", for each category that has a sequence, in the order of `CATEGORIES`.
    """
    groups: dict[str, list] = {}
    for name, statistics in per_sequence.items():
        groups.setdefault(category_of(name), []).append(statistics)
    return {category: mean_over_sequences(groups[category]) for category in CATEGORIES if category in groups}


def category_of(sequence: str) -> str:
    """Returns the YouTube-Objects category at the start of a sequence name: "cat" for "cat_0001_001".

    Raises:
      InputError: the name does not start with a category.
    """
    match = re.match("[a-z]*", sequence)
    category = match[0] if match else ""
    if category not in CATEGORIES:
        raise InputError(f"sequence {sequence!r} starts with no category; the categories are {', '.join(CATEGORIES)}")
    return category


def average_stability(per_sequence: Mapping[str, float | None]) -> dict:
    """Averages T over the stable sequences of DAVIS-2016, or over all sequences where none of those is present.

    Args:
      per_sequence: sequence name -> T, None where T is not defined.

    Returns:
      "mean" (None if T is defined nowhere) and "sequences", the names of the sequences that were averaged.
    """
    defined = {name: value for name, value in per_sequence.items() if value is not None}
    over = [name for name in defined if name in STABLE_SEQUENCES] or list(defined)
    return {"mean": float(np.mean([defined[name] for name in over])) if over else None, "sequences": over}
