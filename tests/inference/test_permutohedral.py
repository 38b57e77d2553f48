"""The lattice against a lattice in plain Python."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.inference.permutohedral import Lattice, apply_filter, build_lattice


def clustered(dimensions: int, count: int, seed: int = 0) -> np.ndarray:
    """Makes points (dimensions, count) in groups, as the pixels of an image are."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 4, (dimensions, 6))
    return (centres[:, rng.integers(6, size=count)] + rng.normal(0, 0.3, (dimensions, count))).astype(np.float32)


def plain_filter(features: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns the matrix of the filter and the number of vertices, by the algorithm of Adams et al. (2010).

    It uses the paper's remainder-0 point, ranks and canonical simplex, a dictionary of vertices, and double precision.
    """
    d, count = features.shape
    embedding = np.zeros((d + 1, d))
    for j in range(d):
        embedding[: j + 1, j], embedding[j + 1, j] = 1, -(j + 1)
        embedding[:, j] *= np.sqrt(2 / 3) * (d + 1) / np.sqrt((j + 1) * (j + 2))
    splat: dict[tuple[int, ...], np.ndarray] = {}
    for p in range(count):
        elevated = embedding @ features[:, p].astype(float)
        nearest = np.round(elevated / (d + 1)) * (d + 1)
        rank = np.argsort(np.argsort(-(elevated - nearest), kind="stable"), kind="stable")
        rank += round(nearest.sum() / (d + 1))
        nearest += (d + 1) * ((rank < 0).astype(int) - (rank > d))
        rank += (d + 1) * ((rank < 0).astype(int) - (rank > d))
        weights = np.zeros(d + 2)
        for residual, place in zip((elevated - nearest) / (d + 1), rank, strict=True):
            weights[d - place] += residual
            weights[d - place + 1] -= residual
        weights[0] += 1 + weights[d + 1]
        for remainder in range(d + 1):
            vertex = tuple((nearest + np.where(rank <= d - remainder, remainder, remainder - d - 1)).astype(int))
            splat.setdefault(vertex, np.zeros(count))[p] += weights[remainder]
    values = splat
    for axis in range(d + 1):
        step = np.full(d + 1, 1)
        step[axis] = -d
        sides = [{vertex: values.get(tuple(vertex + sign * step), 0) for vertex in values} for sign in (1, -1)]
        values = {vertex: row + 0.5 * (sides[0][vertex] + sides[1][vertex]) for vertex, row in values.items()}
    matrix = sum(splat[vertex][:, None] * values[vertex][None] for vertex in splat)
    return matrix / (1 + 2.0**-d), len(splat)


def filter_matrix(lattice: Lattice) -> np.ndarray:
    """Returns the matrix of the filter, of which it makes one column at a time."""
    count = lattice.weights.shape[1]
    return np.asarray(jax.vmap(lambda values: apply_filter(lattice, values), out_axes=1)(np.eye(count, dtype="f4")))


@pytest.mark.parametrize(("dimensions", "count"), [(1, 30), (2, 150), (5, 150)])
def test_the_filter_is_that_of_the_paper(dimensions, count):
    features = clustered(dimensions, count)
    expected, vertices = plain_filter(features)
    lattice = build_lattice(features)
    assert (lattice.previous > 0).any() and (lattice.next > 0).any()
    assert lattice.vertices.max() == vertices  # numbered from 1
    np.testing.assert_allclose(filter_matrix(lattice), expected, atol=2e-5)


def test_scattered_points_make_the_table_grow():
    features = np.random.default_rng(0).uniform(0, 1000, (5, 2000)).astype(np.float32)
    lattice = build_lattice(features)
    assert lattice.vertices.max() > 0.75 * 4 * 2000  # more than its first size holds
    assert len(np.unique(lattice.vertices)) == lattice.vertices.max()
    # The points are too far from one another to matter to each other.
    alone = apply_filter(build_lattice(features[:, :50]), np.ones(50, np.float32))
    np.testing.assert_allclose(apply_filter(lattice, np.ones(2000, np.float32))[:50], alone, rtol=1e-5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="too narrow"):
        build_lattice(clustered(5, 100) * 1e5)
