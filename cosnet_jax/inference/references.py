"""Which frames of a video each frame is compared with (paper, section 4.2), and when they are needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from cosnet_jax.errors import InputError

SAMPLINGS = ("uniform", "random", "consecutive")


def choose_references(num_frames: int, num_references: int, sampling: str, seed: int = 0) -> np.ndarray:
    """Chooses the references of every frame from the video's length alone.

    A frame is never its own reference, unless the video has one frame. "uniform" and "random" draw N frames of the
    whole video once, and one spare frame that replaces a drawn frame for the query that is this frame. So N + 1 frames
    serve as references for the whole video.

    Args:
      num_frames: T, at least 1.
      num_references: N, at least 0.
      sampling: "uniform": the centres of N equal parts of the video; "random": drawn without replacement;
        "consecutive": the nearest frames, the earlier of two first.
      seed: seed of "random".

    Returns:
      (T, n) int, n = min(N, max(T - 1, 1)).

    Raises:
      InputError: the video has no frames.
    """
    if num_frames < 1:
        raise InputError("the video has no frames")
    n = min(num_references, max(num_frames - 1, 1))
    if num_frames == 1 or n == 0:
        return np.zeros((num_frames, n), int)
    frames = np.arange(num_frames)
    if sampling == "consecutive":
        # n + 1 neighbouring frames without the frame itself, which stands in their middle, or after it if n is odd.
        first = np.clip(frames - (n + 1) // 2, 0, num_frames - 1 - n)[:, None]
        window = first + np.arange(n)
        return window + (window >= frames[:, None])
    if sampling == "uniform":
        drawn = ((np.arange(n) + 0.5) * num_frames / n).astype(int)
        middle = [(drawn[k] + drawn[k + 1]) // 2 for k in range(n - 1)]
        spare = next(frame for frame in [*middle[(n - 1) // 2 :], *middle, *frames] if frame not in drawn)
    else:
        *drawn, spare = np.random.default_rng(seed).permutation(num_frames)[: n + 1]
        drawn = np.array(drawn)
    reference_indices = np.tile(drawn, (num_frames, 1))
    reference_indices[frames[:, None] == drawn] = spare
    return np.sort(reference_indices, axis=1)


@dataclasses.dataclass(frozen=True)
class ReferencePlan:
    """Which frames of a video are needed, and for how long, to segment some of them with one or several options.

    Attributes:
      queries: numbers of the frames to segment, ascending.
      reference_indices: for each of the options (queries, n) int, the references of each query.
      batch_size: queries that are segmented at a time.
      first_use, last_use: (T,) int, the first and the last query that needs a frame, the frame itself included; T and
        -1 for a frame that no query needs.
    """

    queries: list[int]
    reference_indices: list[np.ndarray]
    batch_size: int
    first_use: np.ndarray
    last_use: np.ndarray

    @property
    def in_order(self) -> list[int]:
        """The frames that are needed at all, ascending."""
        return np.flatnonzero(self.last_use >= 0).tolist()

    @property
    def early(self) -> list[int]:
        """The references to read at the start: they come long after the first query that needs them.

        Consecutive references come at most n frames later, and reading in order meets them in time.
        """
        distance = max(indices.shape[1] for indices in self.reference_indices)
        return [frame for frame in self.in_order if frame - self.first_use[frame] > distance]

    @property
    def max_references(self) -> list[int]:
        """For each of the options the largest number of different references in a batch of queries."""
        return [max(len(np.unique(indices[part])) for part in self._batches()) for indices in self.reference_indices]

    def batches(self) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Yields the queries of each batch, and for each of the options their references."""
        for part in self._batches():
            yield self.queries[part], [indices[part] for indices in self.reference_indices]

    def _batches(self) -> list[slice]:
        return [slice(start, start + self.batch_size) for start in range(0, len(self.queries), self.batch_size)]


def plan_references(
    num_frames: int, queries: Sequence[int], reference_indices: Sequence[np.ndarray], batch_size: int = 1
) -> ReferencePlan:
    """Works out when each of the `num_frames` frames is needed; the other arguments as in `ReferencePlan`."""
    first, last = np.full(num_frames, num_frames), np.full(num_frames, -1)
    for indices in reference_indices:
        for query, row in zip(queries, indices, strict=True):
            frames = [query, *row.tolist()]
            first[frames], last[frames] = np.minimum(first[frames], query), np.maximum(last[frames], query)
    return ReferencePlan(list(queries), list(reference_indices), batch_size, first, last)
