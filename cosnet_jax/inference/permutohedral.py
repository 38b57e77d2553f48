"""High-dimensional Gaussian filtering on the permutohedral lattice (Adams, Baek and Davis, Eurographics 2010).

The filter computes `out[p] = sum_q exp(-|f[p] - f[q]|^2 / 2) in[q]` approximately, in time linear in the number of
points. Each point's value goes to the d + 1 vertices of the lattice simplex around its feature f (splat), the vertices
are blurred along d + 1 axes, and each point reads its d + 1 vertices (slice).

The lattice depends on the features alone. `build_lattice` makes it on the host, in compiled code that releases the GIL;
`apply_filter` is a pure JAX function of the lattice and the values.

A vertex is an integer vector of d + 1 coordinates, where vectors that differ by a multiple of (1, ..., 1) are the same
vertex. A step along an axis of the blur changes one coordinate by one. A vertex is stored as one integer, its key: its
d differences of successive coordinates in a mixed radix. So a step along an axis adds a constant to the key.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numba import njit

from cosnet_jax.errors import InputError

_CAPACITY_STEPS = 4  # capacities are multiples of a quarter of the points: few shapes to compile for


class Lattice(NamedTuple):
    """The sparse lattice around N points of d features; vertex 0 stands for absent ones, and its value is always 0."""

    vertices: jax.Array | np.ndarray  # int32 (d + 1, N), the vertices of each point's simplex
    weights: jax.Array | np.ndarray  # float32 (d + 1, N), the point's barycentric coordinates; they add up to 1
    previous: jax.Array | np.ndarray  # int32 (d + 1, capacity), each vertex's neighbour one step down each axis, or 0
    next: jax.Array | np.ndarray  # int32 (d + 1, capacity), its neighbour one step up, or 0


def build_lattice(features: np.ndarray) -> Lattice:
    """Builds the lattice, of NumPy arrays, around points (d, N) float32 in units of the filter's standard deviation.

    It has room for some more vertices than there are, so that few sizes are compiled.

    Raises:
      InputError: the features extend too far for vertices to be numbered in 62 bits.
    """
    dimensions, count = features.shape
    scale, steps, origin = _coordinates(features)
    vertices = np.empty((dimensions + 1, count), np.int32)
    weights = np.empty((dimensions + 1, count), np.float32)
    bits = max(10, math.ceil(math.log2(4 * count)))
    while True:
        keys = np.empty(3 << (bits - 2), np.int64)
        table = np.zeros((1 << bits, 2), np.int64)
        found = _embed(features, scale, steps, origin, table, keys, vertices, weights)
        if found:
            break
        bits += 1  # the table is three quarters full
    unit = -(-count // _CAPACITY_STEPS)
    capacity = -(-found // unit) * unit
    neighbours = np.zeros((2, dimensions + 1, capacity), np.int32)
    _link(keys[:found], steps, table, *neighbours)
    return Lattice(vertices, weights, *neighbours)


def apply_filter(lattice: Lattice, values: jax.Array) -> jax.Array:
    """Filters one value a point (N,) with the Gaussian of standard deviation 1, up to a common factor."""
    total = jnp.zeros(lattice.previous.shape[1], values.dtype)
    for vertex, weight in zip(lattice.vertices, lattice.weights, strict=True):
        total = total.at[vertex].add(weight * values, mode="promise_in_bounds")

    def blur(total, neighbours):
        previous, following = neighbours
        return total + 0.5 * (_take(total, previous) + _take(total, following)), None

    # A loop in XLA: it would recompute earlier axes for each neighbour of later ones if it could fuse them.
    total, _ = jax.lax.scan(blur, total, (lattice.previous, lattice.next))
    corners = zip(lattice.vertices, lattice.weights, strict=True)
    return sum(weight * _take(total, vertex) for vertex, weight in corners) / (1 + 2.0 ** (1 - len(lattice.weights)))


def _take(values: jax.Array, indices: jax.Array) -> jax.Array:
    return values.at[indices].get(mode="promise_in_bounds")


def _coordinates(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns the features' scales, what a step along each axis adds to a key, and the key of vertex (0, ..., 0)."""
    d = len(features)
    index = np.arange(d)
    # The blur's variance makes the lattice's edge this much shorter than the filter's (Adams et al., p. 6); the
    # division by d + 1 lets the vertices have integer coordinates.
    scale = (math.sqrt(2 / 3) / np.sqrt((index + 1) * (index + 2))).astype(np.float32)
    low, high = features.min(axis=1).astype(float) * scale, features.max(axis=1).astype(float) * scale
    # Coordinate j minus coordinate j + 1 is (j + 2) times scaled feature j minus j times scaled feature j - 1.
    before_low, before_high = np.append(0, low[:-1]), np.append(0, high[:-1])
    margin = 3  # a vertex's coordinates differ from its point's by less than 1, and a neighbour's by 1 more
    smallest = np.floor((index + 2) * low - index * before_high).astype(int) - margin
    largest = np.ceil((index + 2) * high - index * before_low).astype(int) + margin
    sizes = [int(size) for size in largest - smallest + 1]
    if math.prod(sizes) >= 2**62:
        raise InputError(
            f"the CRF's kernel is too narrow, {math.prod(sizes):.1e} lattice vertices; expected larger "
            "inference.crf.gaussian_sxy, bilateral_sxy and bilateral_srgb"
        )
    strides = np.array([math.prod(sizes[j + 1 :]) for j in range(d)], np.int64)
    steps = np.append(strides, 0) - np.append(0, strides)
    return scale, steps, 1 - int(strides @ smallest)  # keys are positive: 0 marks an empty place of the table


@njit(nogil=True, cache=True)
def _find(key, table):
    """Returns where a key stands in the table, or the empty place for it: Fibonacci hashing, open addressing."""
    shift = np.uint64(64 - round(np.log2(len(table))))
    place = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
    while table[place, 0] != key and table[place, 0] != 0:
        place = (place + 1) & (len(table) - 1)
    return place


@njit(nogil=True, cache=True)
def _embed(features, scale, steps, origin, table, keys, vertices, weights):
    """Finds each point's simplex and weights and numbers the vertices by first use.

    Args:
      features: float32 (d, N).
      scale, steps, origin: see `_coordinates`.
      table: int64 (power of two, 2) of zeros, gets the key and the number of each vertex.
      keys: int64, gets the key of each vertex from number 1 on.
      vertices, weights: see `Lattice`; are filled.

    Returns:
      The number of vertices, vertex 0 included, or 0 if they are more than there are `keys`.
    """
    d, count = features.shape
    residual, axis_step = np.empty(d + 1, np.float32), np.empty(d + 1, np.int64)
    found = 1
    for p in range(count):
        # Coordinate j is the sum of the scaled features from j on, minus j times scaled feature j - 1. All are rounded,
        # and the residuals sorted in ascending order, each with its axis.
        key, total = origin, np.float32(0)
        for j in range(d, -1, -1):
            scaled = features[j - 1, p] * scale[j - 1] if j > 0 else np.float32(0)
            coordinate = total - np.float32(j) * scaled
            total += scaled
            rounded = np.rint(coordinate)
            key += np.int64(rounded) * steps[j]
            rest, place = coordinate - rounded, d - j
            while place > 0 and residual[place - 1] > rest:
                residual[place], axis_step[place] = residual[place - 1], axis_step[place - 1]
                place -= 1
            residual[place], axis_step[place] = rest, steps[j]
        # The simplex's vertices: all coordinates rounded, then lowered by one in the order of their residuals.
        for m in range(d + 1):
            if m == 0:
                weights[m, p] = np.float32(1) + (residual[0] - residual[d])
            else:
                weights[m, p] = residual[m] - residual[m - 1]
                key -= axis_step[m - 1]
            place = _find(key, table)
            if table[place, 0] == 0:
                if found == len(keys):
                    return 0
                table[place, 0], table[place, 1], keys[found] = key, found, key
                found += 1
            vertices[m, p] = table[place, 1]
    return found


@njit(nogil=True, cache=True)
def _link(keys, steps, table, previous, following):
    """Fills in the neighbours of the vertices; see `_embed` and `Lattice`."""
    for vertex in range(1, len(keys)):
        for axis in range(len(steps)):
            other = table[_find(keys[vertex] + steps[axis], table), 1]  # 0 where there is none
            if other:
                following[axis, vertex], previous[axis, other] = other, vertex
