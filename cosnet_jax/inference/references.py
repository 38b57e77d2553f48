"""Which frames of a video a frame is compared with (paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosnet_jax.errors import InputError

SAMPLINGS = ("uniform", "random", "consecutive")


def choose_references(num_frames: int, num_references: int, sampling: str, seed: int = 0) -> np.ndarray:
    """The references of every frame, known from the video's length alone.

    A frame is never its own reference, unless the video has one frame. "uniform" and "random" draw N frames of the
    whole video once, and one spare that stands in where a drawn frame is itself the query, so that N + 1 frames serve
    the video.

    Args:
      num_frames: T, at least 1.
      num_references: N, at least 0.
      sampling: "uniform": the centres of N equal parts of the video; "random": drawn without replacement;
        "consecutive": the nearest frames, the earlier of two first.
      seed: of "random".

    Returns:
      (T, n) int, n = min(N, max(T - 1, 1)).

    Raises:
      InputError: for another sampling, a negative N or a video without frames.
    """
    if num_frames < 1:
        raise InputError("the video has no frames")
    if sampling not in SAMPLINGS:
        raise InputError(f"inference.sampling is {sampling!r}; expected one of {', '.join(SAMPLINGS)}")
    if num_references < 0:
        raise InputError(f"inference.num_references is {num_references}; expected 0 or more")
    n = min(num_references, max(num_frames - 1, 1))
    if num_frames == 1 or n == 0:
        return np.zeros((num_frames, n), int)
    frames = np.arange(num_frames)
    if sampling == "consecutive":
        # Distance to every other frame; the half puts the earlier one first, and the frame itself goes last.
        distance = np.abs(frames[:, None] - frames) + 0.5 * (frames > frames[:, None])
        np.fill_diagonal(distance, np.inf)
        return np.sort(np.argsort(distance, axis=1, kind="stable")[:, :n], axis=1)
    if sampling == "uniform":
        drawn = ((np.arange(n) + 0.5) * num_frames / n).astype(int)
        middle = [(drawn[k] + drawn[k + 1]) // 2 for k in range(n - 1)]
        spare = next(frame for frame in [*middle[(n - 1) // 2 :], *middle, *frames] if frame not in drawn)
    else:
        *drawn, spare = np.random.default_rng(seed).permutation(num_frames)[: n + 1]
        drawn = np.array(drawn)
    table = np.tile(drawn, (num_frames, 1))
    table[frames[:, None] == drawn] = spare
    return np.sort(table, axis=1)


def uses(num_frames: int, queries: Sequence[int], tables: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last query that each frame is needed for, itself included.

    Args:
      num_frames: T.
      queries: numbers of the frames to segment.
      tables: the references (queries, n) of each of several settings.

    Returns:
      Two arrays (T,) int, num_frames and -1 for a frame that is not needed.
    """
    first, last = np.full(num_frames, num_frames), np.full(num_frames, -1)
    for table in tables:
        for query, row in zip(queries, table, strict=True):
            frames = [query, *row.tolist()]
            first[frames], last[frames] = np.minimum(first[frames], query), np.maximum(last[frames], query)
    return first, last


def most_references(table: np.ndarray, batch_size: int) -> int:
    """How many different references, from a table (queries, n), a batch of queries has at most."""
    return max(len(np.unique(table[start : start + batch_size])) for start in range(0, len(table), batch_size))
