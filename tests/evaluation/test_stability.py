"""Temporal stability against loops written from the protocol, and against the official values on DAVIS."""

import itertools
import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from cosnet_jax.evaluation.stability import (
    cheapest_path,
    chi_squared,
    describe_outline,
    find_outline,
    matching_cost,
    shape_contexts,
    temporal_instability,
)


def ellipse(shape, centre, axes, angle=0.0):
    mask = np.zeros(shape, np.uint8)
    cv2.ellipse(mask, centre, axes, angle, 0, 360, 1, -1)
    return mask.astype(bool)


def loop_contexts(points):
    n = len(points)
    mean = sum(math.dist(p, q) for p in points for q in points) / n**2
    edges = [10 ** (math.log10(1 / 8) + k * (math.log10(2) - math.log10(1 / 8)) / 4) for k in range(5)]
    contexts = np.zeros((n, 5, 12))
    for i, (y0, x0) in enumerate(points):
        for y, x in points:
            distance = math.hypot(y - y0, x - x0) / mean
            ring = sum(distance >= edge for edge in edges)
            if ring < 5:
                angle = math.atan2(x - x0, y - y0) % (2 * math.pi)
                contexts[i, ring, math.floor(angle / (2 * math.pi / 12)) % 12] += 1
        contexts[i] /= contexts[i].sum()
    return contexts.reshape(n, 60)


def loop_chi_squared(a, b):
    eps = np.finfo(float).eps

    def distance(u, v):
        return 0.5 * sum((p - q) ** 2 / (p + q + eps) for p, q in zip(u, v, strict=True))

    return np.array([[distance(u, v) for v in b] for u in a])


def loop_path(costs):
    n, m = costs.shape
    best = {(0, 0): (0.0, None)}
    for i, j in itertools.product(range(n), range(m)):
        steps = [(i - 1, j - 1), (i, j - 1), (i - 1, j)]
        known = [step for step in steps if step in best and (i, j) != (0, 0)]
        if known:
            step = min(known, key=lambda step: best[step][0])
            best[i, j] = best[step][0] + costs[i, j], step
    path, cell = [], (n - 1, m - 1)
    while cell is not None:
        path.append(cell)
        cell = best[cell][1]
    return path[::-1]


def loop_matching_cost(a, b):
    costs = loop_chi_squared(a, b)
    n, m = costs.shape
    i0, j0 = min(loop_path(costs), key=lambda cell: costs[cell])
    shifted = np.array([[costs[(i + i0 + 1) % n, (j + j0 + 1) % m] for j in range(m)] for i in range(n)])
    pairs = [((i + i0 + 1) % n, (j + j0 + 1) % m) for i, j in loop_path(shifted)]
    for axis in (0, 1):
        chosen = {}
        for pair in pairs:
            if pair[axis] not in chosen or costs[pair] < costs[chosen[pair[axis]]]:
                chosen[pair[axis]] = pair
        pairs = list(chosen.values())
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    return sum(costs[pair] for pair in pairs) / len(pairs)


def random_outline(seed, shape=(60, 80)):
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), 6)
    return find_outline(ellipse(shape, (40, 30), (24, 16)) & (noise > -0.03))


def test_shape_contexts_equal_loops():
    points = np.random.default_rng(0).random((40, 2)) * 50
    np.testing.assert_allclose(shape_contexts(points), loop_contexts(points.tolist()), atol=1e-15)


def test_shape_contexts_on_axes_begin_their_sector():
    # A cross: from its middle, the four ends lie exactly on limits between sectors.
    points = np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)])
    contexts = shape_contexts(points)
    np.testing.assert_allclose(contexts, loop_contexts(points.tolist()), atol=1e-15)
    middle = contexts[0].reshape(5, 12)
    assert [int(sector) for sector in np.flatnonzero(middle.sum(axis=0))] == [0, 3, 6, 9]
    assert middle[0, 0] == pytest.approx(1 / 5)  # the point itself


def test_chi_squared_equals_loops():
    rng = np.random.default_rng(1)
    a, b = (counts / counts.sum(axis=1, keepdims=True) for counts in rng.poisson(0.7, size=(2, 12, 60)).astype(float))
    np.testing.assert_allclose(chi_squared(a, b[:7]), loop_chi_squared(a, b[:7]), atol=1e-12)
    assert np.abs(np.diag(chi_squared(a, a))).max() < 1e-12
    disjoint = chi_squared(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    np.testing.assert_allclose(disjoint, [[1.0]])


def all_paths(n, m, i=0, j=0):
    if (i, j) == (n - 1, m - 1):
        yield [(i, j)]
    for v, u in ((i + 1, j), (i, j + 1), (i + 1, j + 1)):
        if v < n and u < m:
            for path in all_paths(n, m, v, u):
                yield [(i, j), *path]


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (2, 2), (3, 5), (5, 4)])
def test_cheapest_path_among_all(shape):
    costs = np.random.default_rng(2).random(shape)
    path = [tuple(cell) for cell in cheapest_path(costs)]
    expected = min(all_paths(*shape), key=lambda path: sum(costs[cell] for cell in path[1:]))
    assert path == expected


@pytest.mark.parametrize("seed", range(4))
def test_matching_cost_equals_loops(seed):
    a, b = (shape_contexts(random_outline(2 * seed + k)) for k in (0, 1))
    assert matching_cost(a, b) == pytest.approx(loop_matching_cost(a, b), abs=1e-12)


def test_matching_does_not_depend_on_where_the_outline_starts():
    contexts = describe_outline(ellipse((60, 80), (40, 30), (24, 12), 20))
    contexts = contexts[:-1]  # without the repeated first point
    for shift in (1, 17, len(contexts) // 2):
        assert matching_cost(contexts, np.roll(contexts, shift, axis=0)) == pytest.approx(0, abs=1e-12)


def test_outline_is_the_border_with_most_vertices():
    mask = np.zeros((60, 90), bool)
    mask[2:58, 2:30] = True  # larger, but a rectangle
    disk = ellipse(mask.shape, (60, 30), (15, 15))
    outline = find_outline(mask | disk)
    assert outline[:, 1].min() > 40
    np.testing.assert_array_equal(outline[0], outline[-1])
    assert np.hypot(*np.diff(outline, axis=0).T).max() <= 3 + 1e-9


def test_tiny_masks_have_no_outline():
    empty, pixel = np.zeros((2, 20, 20), bool)
    pixel[3, 4] = True
    assert find_outline(empty) is None
    assert find_outline(pixel) is None
    assert find_outline(np.ones((20, 20), bool)) is not None


def test_moving_costs_nothing_and_changing_does():
    still = [ellipse((80, 120), (40 + 5 * k, 40), (20, 12)) for k in range(4)]
    assert temporal_instability(still[0], still[1:]) == pytest.approx(0, abs=1e-12)
    changing = [ellipse((80, 120), (60, 40), (20 + 6 * (k % 2), 12)) for k in range(4)]
    a, b = (describe_outline(mask) for mask in changing[:2])
    expected = 5 * (matching_cost(a, b) + matching_cost(b, a) + matching_cost(a, b)) / 3
    assert temporal_instability(changing[0], changing[1:]) == pytest.approx(expected, rel=1e-12)
    assert expected > 0.05


def test_pairs_without_contour_do_not_count():
    empty = np.zeros((80, 120), bool)
    a, b = ellipse(empty.shape, (60, 40), (20, 12)), ellipse(empty.shape, (60, 40), (30, 12))
    assert temporal_instability(a, [b, empty, b]) == temporal_instability(a, [b])
    assert math.isnan(temporal_instability(a, [empty, b]))
    assert math.isnan(temporal_instability(empty, []))


OFFICIAL = {"blackswan": 0.0139, "car-shadow": 0.0522, "cows": 0.0821, "dance-twirl": 0.2370, "libby": 0.8634}


@pytest.mark.skipif(not os.environ.get("COSNET_DATA"), reason="COSNET_DATA does not name a folder with the real DAVIS")
def test_ground_truth_of_davis_against_the_official_values():
    folder = Path(os.environ["COSNET_DATA"]) / "DAVIS/Annotations/480p"
    values = {}
    for sequence in OFFICIAL:
        masks = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0 for path in sorted((folder / sequence).glob("*.png"))]
        values[sequence] = temporal_instability(masks[0], masks[1:-1])
    # The official toolkit traces a few borders that touch themselves in another way.
    assert values == pytest.approx(OFFICIAL, abs=0.004)
    stable = ["blackswan", "car-shadow", "cows"]
    expected = np.mean([OFFICIAL[sequence] for sequence in stable])
    assert np.mean([values[sequence] for sequence in stable]) == pytest.approx(expected, abs=0.001)
