"""The orthogonality of P in symmetric co-attention (Eqs. 4 and 12)."""

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
