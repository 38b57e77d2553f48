"""Many ways to compare the frames of a video in one pass: what they have in common is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.models.cosnet import COSNet, flatten

LARGEST_BLOCK = 8


class SharingSegmenter(Segmenter):
    """A `Segmenter` whose `stream_settings` shares between the settings all that is the same.

    The gated summary of a query over one reference (Eqs. 7-9) is the same whatever N, sampling and fusion, so it is
    computed once a pair of frames; summary fusion (Eq. 13) averages those of its references. Each different average is
    decoded once: with one reference, that is also what prediction fusion averages. The maps are those of `Segmenter`.
    """

    def __init__(self, model: COSNet, variables: dict[str, Any], size: tuple[int, int]):
        """Prepares the network, see `Segmenter`; the fusions are "summary" and "prediction"."""
        super().__init__(model, variables, size)

        @jax.jit
        def attend(variables, features, values, keys):
            """(1, h, w, c) of the query, lists of references -> the gated summary (1, h, w, c) of each."""
            return [
                model.apply(variables, features, key[:, None], flatten(value)[:, None], method="attend")
                for value, key in zip(values, keys, strict=True)
            ]

        @jax.jit
        def decode(variables, features, summaries):
            """(1, h, w, c) of the query, a list of summaries -> the probabilities (1, *size) of each."""
            n = len(summaries)
            queries = jnp.repeat(features, n, axis=0)
            logits = model.apply(variables, queries, jnp.concatenate(summaries), tuple(size), method="decode")
            return jnp.split(jax.nn.sigmoid(logits), n)

        self._attend, self._decode = attend, decode
        self._mean = jax.jit(lambda arrays: sum(arrays) / len(arrays))
        self._enlarge = enlarge

    def _probabilities(
        self, encoded: dict[int, tuple], query: int, rows: Sequence[np.ndarray], fusions: Sequence[str]
    ) -> list[jax.Array]:
        features = encoded[query][0]
        groups = [references_together(row.tolist(), fusion) for row, fusion in zip(rows, fusions, strict=True)]
        distinct = list(dict.fromkeys(group for setting in groups for group in setting))
        summaries: dict[int, jax.Array] = {}
        for block in blocks(sorted({reference for group in distinct for reference in group})):
            values, keys = zip(*(encoded[reference] for reference in block), strict=True)
            summaries |= zip(block, self._attend(self.variables, features, values, keys), strict=True)
        fused = [self._mean([summaries[reference] for reference in group]) for group in distinct]
        decoded = dict(zip(distinct, self._decode(self.variables, features, fused) if fused else (), strict=True))
        return [
            self._mean([decoded[group] for group in setting])
            if setting
            else self._segment(self.variables, features, [], [], fusion="summary")
            for setting in groups
        ]


def enlarge(probability: jax.Array, size: tuple[int, int]) -> np.ndarray:
    """Resizes (1, h, w) to (*size) bilinearly, as `resize_bilinear` on the device does by costlier matrix products."""
    return cv2.resize(np.asarray(probability[0]), size[::-1], interpolation=cv2.INTER_LINEAR)


def references_together(row: Sequence[int], fusion: str) -> list[tuple[int, ...]]:
    """The references whose summaries are averaged: all of them, or in prediction fusion each alone; [] for N = 0."""
    if fusion == "prediction":
        return [(reference,) for reference in row]
    if fusion != "summary":
        raise ValueError(f"fusion is {fusion!r}; expected summary or prediction")
    return [tuple(row)] if row else []


def blocks(items: Sequence[int]) -> Iterator[Sequence[int]]:
    """Splits a list into parts of 8, then of 4, 2 and 1: few sizes for which the network must be compiled."""
    start, size = 0, LARGEST_BLOCK
    while start < len(items):
        while size > len(items) - start:
            size //= 2
        yield items[start : start + size]
        start += size
