"""Many ways to compare the frames of a video in one pass: what they have in common is computed once."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cosnet_jax.inference.network import Encoded, Network
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.models.cosnet import COSNet

LARGEST_BLOCK = 8


class SharingSegmenter(Segmenter):
    """A `Segmenter` whose `stream_settings` shares between the settings all that is the same.

    The gated summary of a query over one reference (Eqs. 7-9) is the same whatever N, sampling and fusion, so it is
    computed once a pair of frames; summary fusion (Eq. 13) averages those of its references. Each different average is
    decoded once: with one reference, that is also what prediction fusion averages. The maps are those of `Segmenter`.
    """

    def __init__(self, model: COSNet, variables: dict[str, Any], size: tuple[int, int]):
        """Prepares the network, see `Segmenter`; the fusions are "summary" and "prediction"."""
        super().__init__(model, variables, size, batch_size=1)

        @jax.jit
        def summarise(variables, query, references):
            """An encoded frame and a list of others -> its gated summary (h, w, c) over each."""
            keys = jnp.stack([reference.keys for reference in references])
            features = jnp.stack([reference.features for reference in references])
            values = model.apply(variables, features, method="values")
            return list(model.apply(variables, query.features[None], keys[None], values[None], method="summaries")[0])

        @functools.partial(jax.jit, static_argnames="size")
        def decode(variables, query, summaries, size):
            """An encoded frame and a list of summaries -> its probabilities (1, *size) by each."""
            features, summaries = query.features[None], jnp.stack(summaries)
            logits = model.apply(variables, features, summaries, size, method="decode")
            return jnp.split(jax.nn.sigmoid(logits), len(logits))

        self._summarise, self._decode = summarise, decode
        self._mean = jax.jit(lambda arrays: sum(arrays) / len(arrays))

    def _probabilities(
        self,
        network: Network,
        variables: Any,
        encoded: dict[int, Encoded],
        queries: list[int],
        rows: list[np.ndarray],
        fusions: list[str],
        rooms: list[int],
    ) -> list[jax.Array]:
        query = encoded[queries[0]]
        groups = [references_together(row[0].tolist(), fusion) for row, fusion in zip(rows, fusions, strict=True)]
        distinct = list(dict.fromkeys(group for setting in groups for group in setting))
        summaries: dict[int, jax.Array] = {}
        for block in blocks(sorted({reference for group in distinct for reference in group})):
            found = self._summarise(variables, query, [encoded[reference] for reference in block])
            summaries |= zip(block, found, strict=True)
        fused = [self._mean([summaries[reference] for reference in group]) for group in distinct]
        decoded = dict(zip(distinct, self._decode(variables, query, fused, network.size) if fused else (), strict=True))
        return [
            self._mean([decoded[group] for group in setting])
            if setting
            else network.segment(variables, encoded, queries, rows[0][:, :0], "summary", 0)
            for setting in groups
        ]


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
