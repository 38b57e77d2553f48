"""The losses against loops written from the paper's equations, and their gradients against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cosnet_jax.training.losses import balanced_cross_entropy, cross_entropy, soft_iou_loss


def example(seed, foreground):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 3, (2, 5, 6)).astype(np.float32), (rng.random((2, 5, 6)) < foreground).astype(np.uint8)


def equation_11(logits, mask):
    """Pixel by pixel, in float64, as a mean over the pixels."""
    eta = mask.sum() / mask.size
    total = 0.0
    for logit, o in zip(logits.ravel().astype(np.float64), mask.ravel(), strict=True):
        y = 1 / (1 + np.exp(-logit))
        total -= (1 - eta) * o * np.log(y) + eta * (1 - o) * np.log(1 - y)
    return total / mask.size


@pytest.mark.parametrize("foreground", [0.1, 0.5, 0.9])
def test_balanced_cross_entropy_is_equation_11_per_example(foreground):
    logits, masks = example(0, foreground)
    expected = [equation_11(*pair) for pair in zip(logits, masks, strict=True)]
    np.testing.assert_allclose(balanced_cross_entropy(jnp.array(logits), jnp.array(masks)), expected, rtol=1e-5)


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("logit", [-1e4, 0.0, 1e4])
def test_balanced_cross_entropy_is_finite_without_foreground_or_background(value, logit):
    loss, gradient = jax.value_and_grad(lambda x: balanced_cross_entropy(x, jnp.full((1, 3, 3), value)).sum())(
        jnp.full((1, 3, 3), logit)
    )
    assert loss == 0
    assert np.isfinite(gradient).all()


def test_cross_entropy_and_soft_iou_are_their_sums_over_pixels():
    logits, masks = example(2, 0.3)
    for index, (logit, mask) in enumerate(zip(logits.astype(np.float64), masks, strict=True)):
        entropy, intersection, union = 0.0, 0.0, 0.0
        for x, o in zip(logit.ravel(), mask.ravel(), strict=True):
            y = 1 / (1 + np.exp(-x))
            entropy -= np.log(y) if o else np.log(1 - y)
            intersection, union = intersection + y * o, union + y + o - y * o
        np.testing.assert_allclose(cross_entropy(logits, masks)[index], entropy / mask.size, rtol=1e-5)
        np.testing.assert_allclose(soft_iou_loss(logits, masks)[index], 1 - (intersection + 1) / (union + 1), rtol=1e-5)


def test_soft_iou_is_best_where_prediction_and_mask_agree_the_empty_mask_too():
    full, empty = jnp.full((1, 4, 4), 50.0), jnp.full((1, 4, 4), -50.0)
    assert soft_iou_loss(full, jnp.ones((1, 4, 4))) == 0 and soft_iou_loss(empty, jnp.zeros((1, 4, 4))) == 0
    np.testing.assert_allclose(soft_iou_loss(full, jnp.zeros((1, 4, 4))), 1 - 1 / 17, rtol=1e-6)
    assert (jax.grad(lambda x: soft_iou_loss(x, jnp.zeros((1, 4, 4))).sum())(jnp.zeros((1, 4, 4))) > 0).all()


def test_gradient_of_balanced_cross_entropy():
    logits, masks = example(1, 0.3)
    # The loss computes in float32, whose rounding is what the difference quotient's error is made of.
    with jax.enable_x64(True):
        gradient = jax.grad(lambda x: balanced_cross_entropy(x, masks).sum())(jnp.asarray(logits))
    step = np.float32(1e-2)
    for index in [(0, 0, 0), (0, 3, 4), (1, 2, 2), (1, 4, 5)]:
        bump = np.zeros_like(logits)
        bump[index] = step
        b = index[0]
        above, below = (equation_11(logits[b] + sign * bump[b], masks[b]) for sign in (1, -1))
        expected = (above - below) / (2 * step)
        np.testing.assert_allclose(gradient[index], expected, rtol=1e-4, atol=1e-7)
