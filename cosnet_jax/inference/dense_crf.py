"""Mean-field inference in a fully connected CRF with two labels (Kraehenbuehl and Koltun, NIPS 2011), in JAX.

The energy, the kernels and their approximation are those of pydensecrf, so the labels agree with it. Two labels need
one value per pixel. Let x be the log-odds of the foreground; the probabilities of the two labels differ by
s = tanh(x / 2), and a mean-field step is

    x <- u + sum_k w_k n_k F_k(n_k s)

where u are the log-odds of the unary term, F_k is the filter of kernel k, w_k is its weight (Potts model), and
n_k = F_k(1)^(-1/2) normalises it symmetrically.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cosnet_jax.inference.permutohedral import Lattice, apply_filter, build_lattice

if TYPE_CHECKING:
    from cosnet_jax.inference.crf import CRFConfig

MIN_PROBABILITY = 1e-5  # of either label in the unary term


class Kernel(NamedTuple):
    """A Gaussian kernel between all pairs of N pixels, symmetrically normalised."""

    lattice: Lattice  # of the pixels' features
    norm: jax.Array  # float32 (N,), factor of the filter's input and of its output


def refine(image: np.ndarray, probability: np.ndarray, params: CRFConfig) -> jax.Array:
    """Refines a map as `crf.refine` does, whose arguments these are; the result is on the default device."""
    lattice = jax.device_put(appearance_lattice(image, params.bilateral_sxy, params.bilateral_srgb))
    smoothness = smoothness_kernel(*probability.shape, params.gaussian_sxy)
    return _refine(
        probability, smoothness, lattice, params.gaussian_compat, params.bilateral_compat,
        iterations=params.iterations, stretch=params.normalise,
    )  # fmt: skip


@functools.lru_cache(maxsize=4)
def smoothness_kernel(height: int, width: int, sxy: float) -> Kernel:
    """Returns the kernel between pixels of a frame that are close, `sxy` pixels in standard deviation; it is kept."""
    return normalised(jax.device_put(build_lattice(_positions(height, width, sxy))))


def appearance_lattice(image: np.ndarray, sxy: float, srgb: float) -> Lattice:
    """Builds the lattice, of NumPy arrays, of the kernel between pixels that are close and of similar colours.

    The standard deviations are `sxy` pixels and `srgb` grey levels.
    """
    height, width, _ = image.shape
    colours = np.moveaxis(image, -1, 0).reshape(3, -1) / np.float32(srgb)
    return build_lattice(np.concatenate([_positions(height, width, sxy), colours]))


def _positions(height: int, width: int, sxy: float) -> np.ndarray:
    """Returns the rows and columns of the pixels, float32 (2, N), in units of `sxy`."""
    return (np.mgrid[:height, :width].astype(np.float32) / np.float32(sxy)).reshape(2, -1)


@jax.jit
def normalised(lattice: Lattice) -> Kernel:
    """Returns the filter of a lattice as a symmetrically normalised kernel."""
    sums = apply_filter(lattice, jnp.ones_like(lattice.weights[0]))
    return Kernel(lattice, jax.lax.rsqrt(sums + 1e-20))


def log_odds(probability: jax.Array, stretch: bool) -> jax.Array:
    """Computes the unary term: log-odds of the foreground, where either label has a probability of at least 1e-5.

    With `stretch` the smallest and the largest value become 0 and 1 first. A constant map stays as it is.
    """
    if stretch:
        low, high = probability.min(), probability.max()
        scale = jnp.where(low < high, high - low, 1)
        probability = jnp.where(low < high, (probability - low) / scale, probability)
    foreground = jnp.clip(probability, MIN_PROBABILITY, 1)
    background = jnp.clip(1 - probability, MIN_PROBABILITY, 1)
    return jnp.log(foreground) - jnp.log(background)


@functools.partial(jax.jit, static_argnames=("iterations", "stretch"))
def _refine(probability, smoothness, lattice, gaussian_compat, bilateral_compat, *, iterations, stretch):
    unary = log_odds(probability, stretch).reshape(-1)
    kernels = (smoothness, gaussian_compat), (normalised(lattice), bilateral_compat)

    def step(_, odds):
        difference = jnp.tanh(odds / 2)
        return unary + sum(
            weight * kernel.norm * apply_filter(kernel.lattice, kernel.norm * difference) for kernel, weight in kernels
        )

    return jax.nn.sigmoid(jax.lax.fori_loop(0, iterations, step, unary)).reshape(probability.shape)
