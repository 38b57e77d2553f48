"""Outlines: tracing against pixel counts, simplification and sampling against loops."""

import math

import numpy as np
import pytest

from cosnet_jax.evaluation.contours import reduce_vertices, simplify, split_long_edges, trace_polygons


def picture(*rows):
    return np.array([[cell == "#" for cell in row] for row in rows])


def test_a_rectangle():
    (polygon,) = trace_polygons(picture("....", ".##.", ".##.", ".##.", "...."))
    np.testing.assert_array_equal(polygon, [(1, 1), (4, 1), (4, 3), (1, 3), (1, 1)])


def test_a_mask_that_touches_the_border():
    (polygon,) = trace_polygons(np.ones((2, 3), bool))
    np.testing.assert_array_equal(polygon, [(0, 0), (2, 0), (2, 3), (0, 3), (0, 0)])


def test_pixels_that_touch_at_a_corner_are_apart():
    polygons = trace_polygons(picture("#.", ".#"))
    assert [len(polygon) for polygon in polygons] == [5, 5]
    polygons = trace_polygons(picture(".#", "#."))
    assert [tuple(polygon[0]) for polygon in polygons] == [(0, 1), (1, 0)]


def test_a_hole_runs_the_other_way():
    outer, hole = trace_polygons(picture("###", "#.#", "###"))
    assert signed_area(outer) == 9
    assert signed_area(hole) == -1


def test_nothing():
    assert trace_polygons(np.zeros((3, 4), bool)) == []


def signed_area(polygon):
    (y0, x0), (y1, x1) = polygon[:-1].T, polygon[1:].T
    return int((y0 * x1 - x0 * y1).sum()) / 2


def test_areas_and_lengths_of_random_masks():
    rng = np.random.default_rng(0)
    for _ in range(200):
        mask = rng.random(tuple(rng.integers(1, 20, size=2))) < rng.random()
        polygons = trace_polygons(mask)
        assert sum(signed_area(polygon) for polygon in polygons) == mask.sum()
        padded = np.pad(mask, 1)
        edges = np.sum(padded[1:] != padded[:-1]) + np.sum(padded[:, 1:] != padded[:, :-1])
        assert sum(np.abs(np.diff(polygon, axis=0)).sum() for polygon in polygons) == edges
        for polygon in polygons:
            steps = np.diff(polygon, axis=0)
            assert ((steps == 0).sum(axis=1) == 1).all()  # along pixel edges
            turns = np.abs(np.sign(steps)) != np.abs(np.sign(np.roll(steps, 1, axis=0)))
            assert turns.all()  # at every vertex, the first too
            np.testing.assert_array_equal(polygon[0], polygon[-1])


def test_reduce_vertices_hand_worked():
    points = np.array([(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3)])
    # 1, sqrt(2) and then sqrt(5) from the first point; then 1; the last point stays whatever its distance.
    np.testing.assert_array_equal(reduce_vertices(points, 1.5), [(0, 0), (1, 2), (2, 3)])
    np.testing.assert_array_equal(reduce_vertices(points, 1.0), points)
    np.testing.assert_array_equal(reduce_vertices(points[:2], 9.0), points[:2])


def recursive_simplify(points, tolerance):
    """Douglas and Peucker as in the textbook, the last of equally far points first."""
    (y0, x0), (y1, x1) = points[0], points[-1]
    farthest, distance = None, 0.0
    for i in range(1, len(points) - 1):
        y, x = points[i]
        length = (y1 - y0) ** 2 + (x1 - x0) ** 2
        share = 0.0
        if length:
            share = min(max(((y - y0) * (y1 - y0) + (x - x0) * (x1 - x0)) / length, 0.0), 1.0)
        d = math.hypot(y - y0 - share * (y1 - y0), x - x0 - share * (x1 - x0))
        if d >= distance - 1e-12:
            farthest, distance = i, d
    if farthest is None or distance <= tolerance:
        return [points[0], points[-1]]
    first = recursive_simplify(points[: farthest + 1], tolerance)
    return first[:-1] + recursive_simplify(points[farthest:], tolerance)


def test_simplify_equals_the_textbook():
    rng = np.random.default_rng(1)
    for _ in range(50):
        # Points off the lattice, so that no two are equally far but for rounding.
        angles = np.sort(rng.random(40)) * 2 * np.pi
        radii = 20 + 4 * rng.random(40)
        points = np.stack([radii * np.sin(angles), radii * np.cos(angles)], axis=1)
        if rng.random() < 0.5:
            points = np.concatenate([points, points[:1]])
        expected = recursive_simplify([tuple(point) for point in points], 1.5)
        np.testing.assert_array_equal(simplify(points, 1.5), expected)


def test_simplify_takes_the_last_of_equals():
    square = np.array([(0, 0), (0, 2), (2, 2), (2, 1), (2, 0)])
    # (0, 2) is 2 from the chord, (2, 2) as well.
    np.testing.assert_array_equal(simplify(square, 1.9), [(0, 0), (2, 2), (2, 0)])


def test_split_long_edges_hand_worked():
    points = np.array([(0.0, 0.0), (0.0, 3.0), (0.0, 10.0), (0.0, 10.0)])
    expected = [(0, 0), (0, 3), (0, 3 + 7 / 3), (0, 3 + 14 / 3), (0, 10), (0, 10)]
    np.testing.assert_allclose(split_long_edges(points, 3.0), expected, atol=1e-12)


@pytest.mark.parametrize("longest", [0.7, 3.0])
def test_split_edges_are_short_and_few(longest):
    points = np.random.default_rng(2).random((30, 2)) * 40
    split = split_long_edges(points, longest)
    lengths = np.hypot(*np.diff(split, axis=0).T)
    assert lengths.max() <= longest + 1e-9
    edges = np.hypot(*np.diff(points, axis=0).T)
    assert len(split) == 1 + sum(max(math.ceil(edge / longest), 1) for edge in edges)
    kept = {tuple(point) for point in split}
    assert all(tuple(point) in kept for point in points)
