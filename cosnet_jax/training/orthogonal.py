"""Keeps P of symmetric co-attention orthogonal (Eqs. 4 and 12).

The paper adds `lambda ||P P^T - I||_F` with lambda = 1e-4 to the loss (Eq. 12). Its gradient is as small for a large
deviation as for a small one: at C = 512 its norm is 2e-4, that of the data 2e-2, that of weight decay 1e-2. So it does
nothing. These ways were compared by the largest entry of |P P^T - I|:

| | C = 64, 300 steps with AdamW | C = 512, P alone, as much SGD as 60,000 steps |
| --- | --- | --- |
| Eq. 12 as it is; P decays | 0.13 | 0.09 |
| Eq. 12 squared, lambda 1e-4, 1e-2, 1; P does not decay | 0.11, 0.01, 7e-4 | 0.04, not run, 6e-5 |
| after each update, a step of 0.01, 0.1 down the gradient of the square | 0.06, 0.01 | not run, 5e-5 |
| after each update, the nearest orthogonal matrix | 4e-7 | 1e-6 |

The last one is used. It has nothing to tune, and it holds for any optimiser and learning rate.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

ITERATIONS = 4
EXACT = jax.lax.Precision.HIGHEST  # float32 on every device: small deviations from I are what matters


def deviation(matrix: jax.Array) -> jax.Array:
    """Computes `P P^T - I` of P (c, c)."""
    return jnp.einsum("dc,ec->de", matrix, matrix, precision=EXACT) - jnp.eye(len(matrix), dtype=matrix.dtype)


def nearest_orthogonal(matrix: jax.Array) -> jax.Array:
    """Returns the orthogonal matrix nearest to a matrix, by Newton-Schulz iterations.

    An iteration `P <- P - 1/2 (P P^T - I) P` is a gradient step on `1/4 ||P P^T - I||_F^2`, Eq. 12's norm squared. A
    singular value of 1 + e becomes 1 - 3/2 e^2, roughly; those above 0 and below sqrt(3) converge to 1. The matrix is
    first scaled where some could exceed sqrt(2); this leaves the nearest orthogonal matrix as it is.

    Args:
      matrix: (c, c) of full rank.

    Returns:
      (c, c). If the scaled singular values are at least 0.7, they end within 1e-6 of 1. A matrix further away, such as
      one of a training without this constraint, comes closer with every call.
    """
    bound = 1 + jnp.sqrt(jnp.square(deviation(matrix)).sum())  # at least the largest singular value, squared
    matrix = matrix * jax.lax.rsqrt(jnp.maximum(bound / 2, 1))
    for _ in range(ITERATIONS):
        matrix = matrix - 0.5 * jnp.einsum("de,ec->dc", deviation(matrix), matrix, precision=EXACT)
    return matrix
