"""The guided filter against least squares in each window, and what it does to edges and specks."""

from __future__ import annotations

import cv2
import numpy as np

from cosnet_jax.inference.guided_filter import EPSILON, enlarge_guided

RADIUS = 2


def guided_by_windows(probability, frame):
    """The filter without enlargement: ridge regression in each window, mean prediction of all windows of a pixel."""
    height, width = probability.shape
    padded_frame = cv2.copyMakeBorder(frame.astype(float) / 255, *4 * [2 * RADIUS], cv2.BORDER_REFLECT)
    padded_map = cv2.copyMakeBorder(probability.astype(float), *4 * [2 * RADIUS], cv2.BORDER_REFLECT)
    coefficients = np.zeros((height, width, 4))
    for y in range(height):
        for x in range(width):
            window = slice(y + RADIUS, y + 3 * RADIUS + 1), slice(x + RADIUS, x + 3 * RADIUS + 1)
            colours, values = padded_frame[window].reshape(-1, 3), padded_map[window].ravel()
            centred = colours - colours.mean(0)
            slope = np.linalg.solve(
                centred.T @ centred / len(values) + EPSILON * np.eye(3),
                centred.T @ (values - values.mean()) / len(values),
            )
            coefficients[y, x] = [*slope, values.mean() - slope @ colours.mean(0)]
    averaged = cv2.blur(coefficients, (2 * RADIUS + 1,) * 2, borderType=cv2.BORDER_REFLECT)
    result = (averaged[..., :3] * frame / 255).sum(-1) + averaged[..., 3]
    return cv2.medianBlur(result.clip(0, 1).astype(np.float32), 3)


def test_it_is_ridge_regression_in_each_window():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (11, 13, 3)).astype(np.uint8)
    probability = rng.random((11, 13), np.float32)
    given = enlarge_guided(probability, frame, RADIUS)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, guided_by_windows(probability, frame), atol=2e-4)  # float32


def test_a_blurred_edge_snaps_to_the_frames_and_a_flat_frame_keeps_the_map():
    frame = np.full((80, 120, 3), 60, np.uint8)
    frame[:, 63:] = (200, 180, 90)
    truth = np.zeros((80, 120), bool)
    truth[:, 63:] = True
    small = cv2.GaussianBlur(cv2.resize(truth.astype(np.float32), (60, 40), interpolation=cv2.INTER_AREA), (0, 0), 2)
    moved = np.roll(small, 1, axis=1)
    moved[:, :3] = 0
    plain = cv2.resize(moved, (120, 80)) > 0.5
    assert (plain != truth).sum() >= 80
    assert ((enlarge_guided(moved, frame, 4) > 0.5) == truth).all()
    constant = enlarge_guided(np.full((40, 60), 0.3, np.float32), frame, 4)
    np.testing.assert_allclose(constant, 0.3, atol=1e-4)
