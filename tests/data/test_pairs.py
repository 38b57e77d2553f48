"""Which frames make a pair."""

from __future__ import annotations

import numpy as np
import pytest

from cosnet_jax.data.pairs import draw_partner


def draw_many(annotated, position, max_gap, n=600):
    rng = np.random.default_rng(0)
    return [draw_partner(annotated, position, max_gap, rng) for _ in range(n)]


def test_every_other_frame_is_equally_likely():
    drawn = draw_many((0, 1, 2, 5, 9), 2, 0, n=4000)
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [0, 1, 5, 9]
    # Of 4000 draws each frame gets 1000 with a standard deviation of 27.
    assert np.abs(counts - 1000).max() < 5 * 27


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize("max_gap", [1, 2, 3, 10])
def test_the_gap_is_kept(position, max_gap):
    annotated = (0, 1, 2, 3, 4, 5)
    frame = annotated[position]
    expected = {other for other in annotated if 0 < abs(other - frame) <= max_gap}
    assert set(draw_many(annotated, position, max_gap)) == expected


@pytest.mark.parametrize(("position", "nearest"), [(0, 20), (1, 0), (2, 50), (3, 40)])
def test_where_no_frame_is_near_enough_the_nearest_is_taken(position, nearest):
    assert set(draw_many((0, 20, 40, 50), position, 5)) == {nearest}


def test_a_single_frame_is_paired_with_itself():
    assert draw_partner((7,), 0, 0, np.random.default_rng(0)) == 7
    assert draw_partner((7,), 0, 3, np.random.default_rng(0)) == 7


def test_draws_follow_from_the_seed_alone():
    assert draw_many((0, 1, 2, 5, 9), 1, 0) == draw_many((0, 1, 2, 5, 9), 1, 0)
