"""The benchmarks' rules: which frames count, and how sequences are averaged."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.statistics import mean_over_sequences

# The sequences of DAVIS-2016 val without occlusions or fast deformation, over which T is averaged.
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
CATEGORIES = ("aeroplane", "bird", "boat", "car", "cat", "cow", "dog", "horse", "motorbike", "train")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a benchmark scores a sequence.

    Attributes:
      every_frame: a frame without annotation is an error; otherwise it does not count.
      drop_ends: the first and the last frame of a sequence do not count.
      skip_empty: frames whose ground truth is empty do not count.
      by_category: the categories' averages, and the average over categories, are reported too.
      metrics: the measures the benchmark defines.
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
}


def get_protocol(name: str) -> Protocol:
    """Returns the protocol of a benchmark: davis16 (also for the synthetic videos), fbms or youtube_objects."""
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def protocol_of(dataset: str) -> str:
    """Returns the name of the protocol that scores a dataset: the synthetic videos are scored as DAVIS-2016."""
    return "davis16" if dataset == "synthetic" else dataset


def counted_frames(protocol: Protocol, truths: Sequence[np.ndarray | None]) -> list[int]:
    """Lists the frames of a sequence that count.

    Args:
      protocol: the benchmark's rules.
      truths: one (h, w) bool mask a frame, or None where the frame has no annotation.

    Returns:
      Indices into `truths`, in order.

    Raises:
      InputError: no frame counts, or a frame has no annotation though the protocol needs one.
    """
    annotated = [i for i, truth in enumerate(truths) if truth is not None]
    if protocol.every_frame and len(annotated) < len(truths):
        missing = next(i for i, truth in enumerate(truths) if truth is None)
        raise InputError(f"frame number {missing} has no annotation, but the protocol needs one for every frame")
    counted = annotated[1:-1] if protocol.drop_ends else annotated
    if protocol.skip_empty:
        counted = [i for i in counted if truths[i].any()]
    if not counted:
        what = "3 annotated frames" if protocol.drop_ends else "1 annotated frame"
        what += " with foreground" if protocol.skip_empty else ""
        raise InputError(f"{len(annotated)} of {len(truths)} frames are annotated, but at least {what} are needed")
    return counted


def average_categories(per_sequence: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Averages one measure over the sequences of each YouTube-Objects category.

    Args:
      per_sequence: the statistics ("mean", "recall", "decay") of each sequence.

    Returns:
      The statistics of each category that has a sequence, in the usual order of the categories.
    """
    groups: dict[str, list] = {}
    for name, statistics in per_sequence.items():
        groups.setdefault(category_of(name), []).append(statistics)
    return {category: mean_over_sequences(groups[category]) for category in CATEGORIES if category in groups}


def category_of(sequence: str) -> str:
    """Returns the YouTube-Objects category that a sequence name starts with (e.g. of "cat_0001_001")."""
    category = re.match("[a-z]*", sequence).group()
    if category not in CATEGORIES:
        raise InputError(f"sequence {sequence!r} starts with no category; the categories are {', '.join(CATEGORIES)}")
    return category


def average_stability(per_sequence: Mapping[str, float | None]) -> dict:
    """Averages T over the stable sequences of DAVIS-2016, or over all where none of those is there.

    Args:
      per_sequence: T of each sequence, None where it is not defined.

    Returns:
      "mean" (None if T is defined nowhere) and "sequences", the names it was taken over.
    """
    defined = {name: value for name, value in per_sequence.items() if value is not None}
    over = [name for name in defined if name in STABLE_SEQUENCES] or list(defined)
    return {"mean": float(np.mean([defined[name] for name in over])) if over else None, "sequences": over}
