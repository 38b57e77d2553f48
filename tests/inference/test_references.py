"""The choice of reference frames, against what each sampling promises."""

import numpy as np
import pytest

from cosnet_jax.inference.references import SAMPLINGS, choose_references, first_and_last_uses


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("num_frames", [2, 6, 50])
@pytest.mark.parametrize("num_references", [1, 2, 5, 7])
def test_references_are_other_frames_each_once(sampling, num_frames, num_references):
    table = choose_references(num_frames, num_references, sampling)
    assert table.shape == (num_frames, min(num_references, num_frames - 1))
    for query, row in enumerate(table):
        assert query not in row
        assert len(set(row)) == len(row)
        assert row.min() >= 0
        assert row.max() < num_frames


@pytest.mark.parametrize("sampling", ["uniform", "random"])
@pytest.mark.parametrize("num_references", [1, 2, 5])
def test_one_frame_more_than_the_references_serves_the_whole_video(sampling, num_references):
    assert len(np.unique(choose_references(100, num_references, sampling))) == num_references + 1


def test_uniform_takes_the_centres_of_equal_parts():
    table = choose_references(100, 5, "uniform")
    np.testing.assert_array_equal(table[0], [10, 30, 50, 70, 90])
    np.testing.assert_array_equal(table[30], [10, 50, 60, 70, 90])  # 60 stands in for the query


def test_consecutive_sorts_all_frames_by_their_distance():
    for num_frames in range(2, 14):
        for num_references in range(1, 15):
            table = choose_references(num_frames, num_references, "consecutive")
            for query, row in enumerate(table.tolist()):
                others = [frame for frame in range(num_frames) if frame != query]
                others.sort(key=lambda frame, query=query: (abs(frame - query), frame))
                assert row == sorted(others[:num_references])


def test_random_follows_its_seed():
    tables = [choose_references(50, 5, "random", seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(tables[0], tables[1])
    assert (tables[0] != tables[2]).any()


def test_a_single_frame_is_its_own_reference():
    np.testing.assert_array_equal(choose_references(1, 5, "uniform"), [[0]])


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_no_references(sampling):
    assert choose_references(4, 0, sampling).shape == (4, 0)


def test_the_first_and_last_use_by_hand():
    """Frames 2 and 5 are segmented: in one way with the references 0 and 3, in another alone."""
    first, last = first_and_last_uses(7, [2, 5], [np.array([[0], [3]]), np.zeros((2, 0), int)])
    assert first.tolist() == [2, 7, 2, 5, 7, 5, 7]
    assert last.tolist() == [2, -1, 2, 5, -1, 5, -1]
