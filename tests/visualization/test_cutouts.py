"""Cutting out: opacity from probabilities, colours at the edge, backgrounds."""

from __future__ import annotations

import numpy as np
import pytest

from cosnet_jax.visualization.cutouts import alpha_of, blurred_background, cut_out, fill, lay_over

RED, GREEN = (220, 30, 20), (20, 200, 60)


@pytest.fixture(scope="module")
def antialiased():
    """A red disc on green whose edge pixels mix both, and its exact opacity."""
    fine = np.mgrid[:960, :1280]
    inside = (fine[0] - 480) ** 2 + (fine[1] - 640) ** 2 < 300**2
    alpha = inside.reshape(120, 8, 160, 8).mean((1, 3)).astype(np.float32)
    mixed = alpha[..., None] * np.array(RED) + (1 - alpha[..., None]) * np.array(GREEN)
    return np.rint(mixed).astype(np.uint8), alpha


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.5, [0, 0, 0, 0.3, 0.5, 0.7, 1, 1]),  # at 0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 1
        (0.0, [0, 0.4, 1, 1, 1, 1, 1, 1]),  # what is impossible is transparent and what is certain opaque
        (0.95, [0, 0, 0, 0, 0, 0, 1 / 6, 1]),
    ],
)
def test_alpha_is_steep_around_the_threshold(threshold, expected):
    probability = np.array([[0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 1]], np.float32)
    alpha = alpha_of(probability, threshold)
    assert alpha.dtype == np.float32
    np.testing.assert_allclose(alpha[0], expected, atol=1e-6)


def test_feathering_softens_an_edge_on_both_sides():
    probability = np.zeros((40, 80), np.float32)
    probability[:, 40:] = 1
    alpha = alpha_of(probability, feather=6)[20]
    assert (np.diff(alpha) >= -1e-6).all()
    assert alpha[39] + alpha[40] == pytest.approx(1, abs=1e-5)  # the edge stays where it is
    assert alpha[33] < 0.03 < 0.1 < alpha[36] and alpha[43] < 0.9 < 0.97 < alpha[46]
    assert (alpha[28], alpha[52]) == pytest.approx((0, 1), abs=1e-3)


def test_opaque_colours_are_kept_and_those_of_the_edge_are_the_objects(antialiased):
    frame, alpha = antialiased
    picture = cut_out(frame, alpha)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[..., 3], np.rint(alpha * 255))
    np.testing.assert_array_equal(picture[alpha == 1][:, :3], frame[alpha == 1])
    edge = (alpha > 0.02) & (alpha < 0.98)
    assert abs(picture[edge][:, :3].astype(int) - RED).mean() < 30
    assert abs(frame[edge].astype(int) - RED).mean() > 70
    assert not picture[0, 0].any()  # far from the object


def test_a_frame_without_object_is_empty(antialiased):
    frame, alpha = antialiased
    assert not cut_out(frame, np.zeros_like(alpha)).any()
    assert (lay_over(frame, np.zeros_like(alpha), (1, 2, 3)) == (1, 2, 3)).all()


def test_the_object_lies_over_a_colour_or_a_picture(antialiased):
    frame, alpha = antialiased
    picture = np.random.default_rng(0).integers(0, 256, frame.shape).astype(np.uint8)
    for background in ((10, 20, 240), picture):
        result = lay_over(frame, alpha, background)
        ideal = alpha[..., None] * RED + (1 - alpha[..., None]) * background
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result[alpha == 1], frame[alpha == 1])
        np.testing.assert_array_equal(result[alpha == 0], (0 * frame + background)[alpha == 0])
        # The frame's own colours would leave a seam of green.
        assert abs(result - ideal).max() < 35 < 45 < abs(lay_over_raw(frame, alpha, background) - ideal).max()


def lay_over_raw(frame, alpha, background):
    return alpha[..., None] * frame + (1 - alpha[..., None]) * background


def test_a_blurred_background_has_no_halo_of_the_object(antialiased):
    frame, alpha = antialiased
    striped = frame.copy()
    striped[:, ::2][alpha[:, ::2] == 0] = (GREEN[0], GREEN[1] - 60, GREEN[2])
    behind = blurred_background(striped, alpha)
    around = alpha == 0
    assert abs(behind[around] - (GREEN[0], GREEN[1] - 30, GREEN[2])).max() < 12  # stripes and object are gone


@pytest.mark.parametrize("size", [(64, 48), (7, 500)])
def test_a_picture_covers_the_frame_and_keeps_its_proportions(size):
    rows, columns = np.mgrid[:90, :160]
    image = np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)
    filled = fill(image, size)
    assert filled.shape == (*size, 3)
    scale = max(size[0] / 90, size[1] / 160)
    middle = filled[size[0] // 2, size[1] // 2].astype(float)
    np.testing.assert_allclose(middle[:2], (45, 80), atol=max(1.5, 1 / scale))
    slope = (float(filled[size[0] // 2, -2, 1]) - filled[size[0] // 2, 1, 1]) / max(size[1] - 3, 1)
    assert slope == pytest.approx(1 / scale, rel=0.1)
