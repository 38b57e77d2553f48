"""Temporal instability T: how much the shape of a mask's outline changes from frame to frame; moving costs nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from cosnet_jax.evaluation.contours import reduce_vertices, simplify, split_long_edges, trace_polygons

SIMPLIFICATION = 1.5  # pixels: tolerance of the vertex reduction and of Douglas-Peucker
SPACING = 3.0  # pixels: greatest distance between neighbouring points of an outline
NUM_ANGLES, NUM_RADII = 12, 5
RADII = np.logspace(np.log10(1 / 8), np.log10(2), NUM_RADII)  # outer radii of the rings, in mean distances
SCALE = 5.0  # the reported value is this factor times the mean matching cost


def temporal_instability(first_truth: np.ndarray, predictions: Sequence[np.ndarray]) -> float:
    """Computes the temporal (in)stability T of Perazzi et al. (CVPR 2016), as the DAVIS-2016 toolkit reports it.

    Args:
      first_truth: (h, w) bool, the ground truth of the first frame.
      predictions: (h, w) bool each, the predicted masks from the second to the last but one frame.

    Returns:
      5 x the mean matching cost of neighbouring frames; 0 is best. NaN where no two neighbouring frames have a contour.
    """
    descriptors = [describe_outline(mask) for mask in (first_truth, *predictions)]
    pairs = itertools.pairwise(descriptors)
    costs = [matching_cost(a, b) for a, b in pairs if a is not None and b is not None]
    return SCALE * float(np.mean(costs)) if costs else float("nan")


def describe_outline(mask: np.ndarray) -> np.ndarray | None:
    """Describes the outline of a mask by the shape context at each point of the outline.

    Args:
      mask: (h, w) bool.

    Returns:
      (points, 60) float64, each row sums to 1 (see `shape_contexts`); None where the mask has no contour.
    """
    outline = find_outline(mask)
    return None if outline is None else shape_contexts(outline)


def find_outline(mask: np.ndarray) -> np.ndarray | None:
    """Finds the outline of a mask: of its simplified borders, the one with the most vertices.

    Args:
      mask: (h, w) bool.

    Returns:
      (points, 2) float64 of (y, x) in pixels, at most 3 pixels apart; the last point equals the first. None where less
      than a triangle is left of every border.
    """
    polygons = [reduce_vertices(polygon, SIMPLIFICATION) for polygon in trace_polygons(mask)]
    polygons = [simplify(polygon, SIMPLIFICATION) for polygon in polygons]
    polygons = [polygon for polygon in polygons if len(polygon) > 3]
    return split_long_edges(max(polygons, key=len), SPACING) if polygons else None


def shape_contexts(points: np.ndarray) -> np.ndarray:
    """Computes the shape context of Belongie et al. (PAMI 2002) at every point.

    Args:
      points: (n, 2) of (y, x), n >= 2, not all equal.

    Returns:
      (n, 60) float64. Each row is a histogram of all points (its own point included) around one point, in 5 rings of 12
      angles; it sums to 1. Points farther away than twice the mean distance are left out.
    """
    n, bins = len(points), NUM_RADII * NUM_ANGLES
    y, x = points.T
    dy, dx = y - y[:, None], x - x[:, None]
    distance = np.sqrt(dy * dy + dx * dx)
    radii = RADII * distance.mean()
    # Angles run from the y axis towards the x axis. An angle on the limit of two sectors (a multiple of 30 degrees)
    # belongs to the sector that starts there; many points are on a limit, as masks have straight edges.
    angle = np.arctan2(dx, dy)
    angle[angle < 0] += 2 * np.pi
    # bin = row x 60 + ring x 12 + sector; points beyond the outer radius go to one extra bin after all others.
    index = (angle * (NUM_ANGLES / (2 * np.pi))).astype(np.int32)
    index[index == NUM_ANGLES] = 0
    index += np.arange(n, dtype=np.int32)[:, None] * bins
    for radius in radii[:-1]:
        index += (distance >= radius) * np.int32(NUM_ANGLES)
    index[distance >= radii[-1]] = n * bins
    counts = np.bincount(index.ravel(), minlength=n * bins + 1)[:-1].reshape(n, bins)
    return counts / counts.sum(axis=1, keepdims=True)


def matching_cost(a: np.ndarray, b: np.ndarray) -> float:
    """Matches two outlines point by point and returns the mean cost of the pairs.

    Args:
      a: (n, 60) shape contexts.
      b: (m, 60) shape contexts.

    Returns:
      The mean chi-squared distance of matched points, in [0, 1].
    """
    costs = chi_squared(a, b)
    path = cheapest_path(costs)
    cheapest = path[costs[tuple(path.T)].argmin()]
    shift = cheapest + 1
    path = cheapest_path(np.roll(costs, tuple(-shift), axis=(0, 1)))
    pairs = (path + shift) % costs.shape
    for axis in (0, 1):
        pairs = _cheapest_of_each(pairs, costs, axis)
    return float(costs[tuple(pairs.T)].mean())


def chi_squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Computes 1/2 sum_k (a_k - b_k)^2 / (a_k + b_k) between all rows of two sets of histograms.

    Every row sums to 1, so this equals 1 - 2 sum_k a_k b_k / (a_k + b_k). Bins that are empty in a or in b add nothing.

    Args:
      a: (n, bins), rows sum to 1.
      b: (m, bins), rows sum to 1.

    Returns:
      (n, m) float64 in [0, 1].
    """
    with np.errstate(divide="ignore"):
        inverse_a, inverse_b = 1 / a, np.ascontiguousarray((1 / b).T)
    costs = np.empty((len(a), len(b)))
    for i, row in enumerate(inverse_a):
        filled = np.flatnonzero(np.isfinite(row))
        terms = inverse_b[filled]
        terms += row[filled, None]
        np.reciprocal(terms, out=terms)
        terms.sum(axis=0, out=costs[i])
    costs *= -2
    costs += 1
    return np.maximum(costs, 0, out=costs)


def cheapest_path(costs: np.ndarray) -> np.ndarray:
    """Finds the cheapest monotone path through a cost matrix, from the first cell to the last.

    A step goes one cell down, right or both, and costs the value of the cell that it enters. All cells of an
    anti-diagonal are computed at once.

    Args:
      costs: (n, m).

    Returns:
      (length, 2) int64, the (row, column) cells of the path in order.
    """
    n, m = costs.shape
    # skewed[i + j, i] = costs[i, j]: rows of `skewed` are anti-diagonals.
    skewed = np.full((n, n + m), np.inf)
    skewed[:, :m] = costs
    skewed = skewed.ravel()[: n * (n + m - 1)].reshape(n, n + m - 1).T.copy()
    total = np.full((n + m, n + 1), np.inf)  # total[i + j + 1, i + 1]; row and column 0 are outside
    total[1, 1] = 0
    for d in range(1, n + m - 1):
        best = np.minimum(total[d, 1:], total[d, :-1], out=total[d + 1, 1:])
        np.minimum(best, total[d - 1, :-1], out=best)
        best += skewed[d]
    path = [(n - 1, m - 1)]
    i, j = n - 1, m - 1
    while i or j:
        d = i + j
        diagonal, down, right = total[d - 1, i], total[d, i], total[d, i + 1]
        if diagonal <= down and diagonal <= right:
            i, j = i - 1, j - 1
        elif right <= down:
            j -= 1
        else:
            i -= 1
        path.append((i, j))
    return np.array(path[::-1])


def _cheapest_of_each(pairs: np.ndarray, costs: np.ndarray, axis: int) -> np.ndarray:
    """Keeps only the cheapest pair of every point of one outline (axis 0: rows); of equal pairs, the first."""
    order = np.lexsort((costs[tuple(pairs.T)], pairs[:, axis]))
    pairs = pairs[order]
    return pairs[np.concatenate([[True], np.diff(pairs[:, axis]) > 0])]
