"""Which frames of a video each frame is compared with (paper, section 4.2), and when they are needed."""

from __future__ import annotations

from collections.abc import Sequence

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


def first_and_last_uses(
    num_frames: int, queries: Sequence[int], tables: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Works out when each frame of a video is needed to segment some of them.

    Args:
      num_frames: T.
      queries: numbers of the frames to segment, ascending.
      tables: for each of the options (queries, n) int, the references of each query.

    Returns:
      Two arrays (T,): the first and the last query that needs a frame, the frame itself included; T and -1 for a frame
      that no query needs.
    """
    first, last = np.full(num_frames, num_frames), np.full(num_frames, -1)
    for table in tables:
        for query, row in zip(queries, table, strict=True):
            frames = [query, *row.tolist()]
            first[frames], last[frames] = np.minimum(first[frames], query), np.maximum(last[frames], query)
    return first, last
