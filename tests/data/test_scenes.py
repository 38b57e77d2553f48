"""Scenes: which objects recur, and that a single frame does not reveal the primary object."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cosnet_jax.data.scenes import EMPTY, STAY, Scene, draw_lane, draw_scene, render

SIZE = (48, 64)
LENGTH = 20


def measure(image: np.ndarray, owner: np.ndarray, scene: Scene, frame: int, row: int) -> dict[str, float]:
    """Measures the visible part of an object in a frame."""
    mask, on_top = owner == row, row == scene.shown[frame][-1]
    alone = mask if on_top else render(scene._replace(shown=((row,),) * LENGTH), frame, SIZE)[1] == row
    y, x = (axis.mean() for axis in np.nonzero(mask))
    red, green, blue = image[mask].mean(axis=0)
    measured = {"y": y, "x": x, "area": mask.sum(), "hidden": 1 - mask.sum() / alone.sum()}
    measured |= {"from middle": np.hypot(y - 24, x - 32), "contrast": image[mask].std()}
    return measured | {"red": red, "green": green, "blue": blue, "on top": float(on_top)}


@pytest.fixture(scope="module")
def pairs() -> list[tuple[dict[str, float], dict[str, float]]]:
    """Measures the primary object and one distractor in a random frame of each of 1500 scenes."""
    found = []
    for number in range(1500):
        scene, frame = draw_scene(7, number, LENGTH), int(np.random.default_rng(number).integers(LENGTH))
        image, owner = render(scene, frame, SIZE)
        visible = [row for row in scene.shown[frame] if (owner == row).any()]
        others = [row for row in visible if row]
        if 0 in visible and others:
            rows = 0, others[number % len(others)]
            found.append(tuple(measure(image, owner, scene, frame, row) for row in rows))
    return found


def largest_gap(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the Kolmogorov-Smirnov statistic: the largest difference of two empirical distribution functions."""
    values = np.concatenate([first, second])
    ranks = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (first, second)]
    return np.abs(ranks[0] - ranks[1]).max()


MEASUREMENTS = ["y", "x", "from middle", "area", "hidden", "on top", "contrast", "red", "green", "blue"]


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_primary_and_distractors_look_alike(pairs, name):
    primary, other = (np.array([pair[k][name] for pair in pairs]) for k in (0, 1))
    assert len(pairs) > 1300
    # Two samples of one distribution exceed 1.95 sqrt(2 / n) once in a thousand times.
    assert largest_gap(primary, other) < 1.95 * np.sqrt(2 / len(pairs))


def test_the_primary_is_in_every_frame_and_distractors_are_not():
    shares, counts = [], []
    for number in range(200):
        scene = draw_scene(3, number, LENGTH)
        assert len(scene.shown) == LENGTH
        for row in range(1, len(scene.objects.hue)):
            shares.append(np.mean([row in rows for rows in scene.shown]))
        assert all(0 in rows and len(set(rows)) == len(rows) for rows in scene.shown)
        counts += [len(rows) - 1 for rows in scene.shown]
    assert 0 < max(shares) <= max(STAY) + 1 / LENGTH
    assert min(counts) == 1 and max(counts) == 2 and 1.6 < np.mean(counts) < 1.9


@pytest.mark.parametrize("empty", EMPTY)
def test_a_lane_has_the_given_probability_of_being_empty(empty):
    rng = np.random.default_rng(0)
    lanes = [draw_lane(LENGTH, empty, rng) for _ in range(500)]
    assert all(len(lane) == LENGTH for lane in lanes)
    assert abs(np.mean([number < 0 for lane in lanes for number in lane]) - empty) < 0.05
    for lane in lanes:  # each distractor stays once, for one stretch
        present = [number for number, _ in itertools.groupby(lane) if number >= 0]
        assert present == sorted(set(present))


def test_motion_is_smooth_and_the_background_moves_too():
    steps, spans = [], []
    for number in range(20):
        scene = draw_scene(3, number, LENGTH)
        alone = scene._replace(shown=((0,),) * LENGTH)
        owners = [render(alone, frame, SIZE)[1] == 0 for frame in range(LENGTH)]
        middles = np.array([[axis.mean() for axis in np.nonzero(owner)] for owner in owners])
        steps.append(np.abs(np.diff(middles, axis=0)).max())
        spans.append(np.ptp(middles, axis=0).max())
        bare = scene._replace(shown=((),) * LENGTH)
        backgrounds = [render(bare, frame, SIZE)[0].astype(int) for frame in (0, 1, 10)]
        assert 0 < np.abs(backgrounds[1] - backgrounds[0]).mean() < np.abs(backgrounds[2] - backgrounds[0]).mean()
    assert max(steps) < 0.15 * 64 and np.median(spans) > 0.1 * 64


@pytest.mark.parametrize("size", [(16, 16), (40, 200), (200, 40)])
def test_frames_of_any_size_depend_only_on_the_numbers(size):
    places = [(3, 0), (3, 1), (3, 2), (4, 0)]
    first = [render(draw_scene(*place, LENGTH), 3, size) for place in places]
    draw_scene.cache_clear()
    again = [render(draw_scene(*place, LENGTH), 3, size) for place in reversed(places)][::-1]
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert len({image.tobytes() for image, _ in first}) == 4
    assert all(image.shape == (*size, 3) and (owner == 0).any() for image, owner in first)
