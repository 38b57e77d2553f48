"""The outline of a mask as a polygon: traced along pixel edges, simplified, sampled evenly."""

from __future__ import annotations

import numpy as np

# The four edges of a pixel, counter-clockwise: left, bottom, right, top. The pixel is on the left of each edge. Offsets
# (y, x) from the pixel to the neighbour beyond the edge, from the pixel's upper left corner to the start of the edge,
# and from the start of the edge to its end.
NEIGHBOURS = np.array([(0, -1), (1, 0), (0, 1), (-1, 0)])
STARTS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])


def trace_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """Traces the borders between foreground and background along the edges of the pixels.

    Foreground is 4-connected: where two foreground pixels touch only at a corner, the border separates them.

    Args:
      mask: (h, w) bool.

    Returns:
      One closed polygon per border (outer borders and holes) in raster order of the first corners: (k, 2) int64 arrays
      of pixel corners (y, x), 0..h and 0..w, with the foreground on the left. The last point equals the first, and no
      three neighbouring points lie on a line.
    """
    height, width = mask.shape
    padded = np.pad(mask, 1)
    starts, directions = [], []
    for direction, (dy, dx) in enumerate(NEIGHBOURS):
        neighbour = padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        pixels = np.argwhere(mask & ~neighbour)
        starts.append(pixels + STARTS[direction])
        directions.append(np.full(len(pixels), direction))
    start, direction = np.concatenate(starts), np.concatenate(directions)
    # The key of an edge encodes its start and its direction; sorted keys are in raster order.
    keys = (start @ [width + 1, 1]) * 4 + direction
    order = np.argsort(keys)
    start, direction, keys = start[order], direction[order], keys[order]
    following = _following_edges(start, direction, keys, width).tolist()

    polygons, used = [], [False] * len(following)
    for first in range(len(following)):
        edge, loop = first, []
        while not used[edge]:
            used[edge] = True
            loop.append(edge)
            edge = following[edge]
        if loop:
            loop = np.array(loop)
            corners = start[loop[direction[loop] != np.roll(direction[loop], 1)]]
            polygons.append(np.concatenate([corners, corners[:1]]))
    return polygons


def _following_edges(start: np.ndarray, direction: np.ndarray, keys: np.ndarray, width: int) -> np.ndarray:
    """Finds the next edge of the border for every edge: the one to the left if it exists, else ahead, else right."""
    ends = (start + STEPS[direction]) @ [width + 1, 1]
    following = np.full(len(keys), -1)
    for turn in (-1, 0, 1):  # the preferred turn comes last and overwrites the others
        wanted = ends * 4 + (direction + turn) % 4
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        following = np.where(keys[found] == wanted, found, following)
    return following


def reduce_vertices(points: np.ndarray, closest: float) -> np.ndarray:
    """Drops every point of a polyline that is closer than `closest` to the last kept point.

    Args:
      points: (k, 2); the first and the last point are always kept.
      closest: smallest distance between neighbouring points, except for the last point.

    Returns:
      (m, 2), m <= k.
    """
    keep, (y0, x0) = [0], points[0].tolist()
    for i, (y, x) in enumerate(points[1:-1].tolist(), 1):
        if (y - y0) ** 2 + (x - x0) ** 2 >= closest**2:
            keep.append(i)
            y0, x0 = y, x
    return points[[*keep, len(points) - 1]]


def simplify(points: np.ndarray, tolerance: float) -> np.ndarray:
    """Simplifies a polyline with the algorithm of Douglas and Peucker.

    Args:
      points: (k, 2), k >= 2. The last point of a closed polygon equals the first.
      tolerance: a part becomes its chord if none of its points is farther from the chord than this.

    Returns:
      (m, 2) float64, m <= k, the kept points; the two ends are always kept.
    """
    points = np.asarray(points, dtype=np.float64)
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    parts = [(0, len(points) - 1)]
    while parts:
        first, last = parts.pop()
        if last - first < 2:
            continue
        distances = _squared_distances(points[first + 1 : last], points[first], points[last])
        farthest = len(distances) - 1 - int(distances[::-1].argmax())  # the last one of equally far points
        if distances[farthest] > tolerance**2:
            middle = first + 1 + farthest
            keep[middle] = True
            parts += [(first, middle), (middle, last)]
    return points[keep]


def _squared_distances(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the squared distance of each point from the segment a b."""
    chord, offsets = b - a, points - a
    length = chord @ chord
    share = np.clip(offsets @ chord / length, 0, 1) if length else np.zeros(len(points))
    y, x = (offsets - share[:, None] * chord).T
    return y * y + x * x


def split_long_edges(points: np.ndarray, longest: float) -> np.ndarray:
    """Splits every edge of a polyline that is longer than `longest` into the fewest equal parts that are not longer.

    Args:
      points: (k, 2) float64.
      longest: greatest length of an edge in the result.

    Returns:
      (m, 2) float64, m >= k; it contains the given points.
    """
    edges = np.diff(points, axis=0)
    parts = np.maximum(np.ceil(np.hypot(edges[:, 0], edges[:, 1]) / longest).astype(int), 1)
    edge = np.repeat(np.arange(len(edges)), parts)
    part = np.arange(len(edge)) - np.repeat(np.cumsum(parts) - parts, parts)
    split = points[edge] + edges[edge] * (part / parts[edge])[:, None]
    return np.concatenate([split, points[-1:]])
