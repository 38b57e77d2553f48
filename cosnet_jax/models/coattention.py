"""The co-attention between two frames of a video (paper, section 3.1).

Frame a is the query, frame b a reference. Positions are `i` in a and `j` in b. Channels are `c` of the features and `d`
of the space that compares them. Every variant writes the affinity of Eq. 1 as an inner product
`s[i, j] = query_a[i] . key_b[j]`. The query depends on a alone and the key on b alone, so inference computes a
reference's key once. Affinities have `j` last, because CPUs sum over the last axis fastest.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from cosnet_jax.models.layers import Conv

Array = jax.Array


def scaled_identity(key: Array, shape: tuple[int, int]) -> Array:
    """Initialises with I / sqrt(C): the affinity starts as the scaled inner product of the features."""
    del key
    return jnp.eye(*shape) / shape[0] ** 0.5


class Vanilla(nn.Module):
    """Eqs. 1-3: `S = V_b^T W V_a` with one unconstrained C x C matrix W."""

    channels: int

    def setup(self):
        self.weight = self.param("weight", scaled_identity, (self.channels, self.channels))

    def query(self, a: Array) -> Array:
        """Maps V_a (n, i, c) to queries (n, i, c)."""
        return a

    def key(self, b: Array) -> Array:
        """Maps V_b (n, j, c) to keys (n, j, c), whose products with the queries are the affinity S."""
        return jnp.einsum("njc,cd->njd", b, self.weight.astype(b.dtype))  # V_b^T W


class Symmetric(nn.Module):
    """Eq. 4: `S = (P V_b)^T D (P V_a)` with D diagonal and P orthogonal; training keeps it so, in place of Eq. 12."""

    channels: int

    def setup(self):
        self.projection = self.param("projection", nn.initializers.orthogonal(), (self.channels, self.channels))
        self.diagonal = self.param("diagonal", nn.initializers.constant(self.channels**-0.5), (self.channels,))

    def query(self, a: Array) -> Array:
        """Maps V_a (n, i, c) to queries (n, i, c)."""
        return jnp.einsum("dc,nic->nid", self.projection.astype(a.dtype), a)  # P V_a

    def key(self, b: Array) -> Array:
        """Maps V_b (n, j, c) to keys (n, j, c)."""
        return self.query(b) * self.diagonal.astype(b.dtype)  # D (P V_b)


class Channelwise(nn.Module):
    """Eq. 5: `S = (D_a V_b)^T (D_b V_a)`; pooling, a dense layer and a sigmoid make a frame's channel weights.

    D_a and D_b are diagonal, so `(D_a V_b)^T (D_b V_a) = (D_b V_b)^T (D_a V_a)`. In the second form each factor depends
    on one frame alone.
    """

    channels: int

    def setup(self):
        self.dense = nn.Dense(self.channels)

    def query(self, a: Array) -> Array:
        """Maps V_a (n, i, c) to queries (n, i, c)."""
        weights = nn.sigmoid(self.dense(a.mean(axis=1, keepdims=True)))  # (n, 1, c): the diagonal of D_a
        return a * weights.astype(a.dtype)

    def key(self, b: Array) -> Array:
        """Maps V_b (n, j, c) to keys (n, j, c)."""
        return self.query(b)


VARIANTS = {"vanilla": Vanilla, "symmetric": Symmetric, "channelwise": Channelwise}


def affinity(queries: Array, keys: Array) -> Array:
    """Computes the affinity S of every pair of positions (Eq. 1), in float32.

    Args:
      queries: (n, i, d) of frame a.
      keys: (n, j, d) of frame b.

    Returns:
      (n, i, j).
    """
    return jnp.einsum("nid,njd->nij", queries, keys, preferred_element_type=jnp.float32)


def attention_summary(affinity: Array, values: Array) -> Array:
    """Computes the attention summary of every position of a over those of b (Eqs. 6 and 7).

    Args:
      affinity: (n, i, j) float32.
      values: (n, j, c) features of b.

    Returns:
      (n, i, c).
    """
    # S_c of Eq. 6 is weights / total. Dividing after Eq. 7 saves a pass over S. The maximum cancels out.
    weights = jnp.exp(affinity - jax.lax.stop_gradient(affinity.max(axis=2, keepdims=True)))
    total = weights.sum(axis=2, keepdims=True)
    summary = jnp.einsum("nij,njc->nic", weights.astype(values.dtype), values, preferred_element_type=jnp.float32)
    return (summary / total).astype(values.dtype)  # Z_a = V_b S_c, Eq. 7


def fits_in_budget(queries: Array, keys: Array, budget: float) -> bool:
    """Returns whether the affinity of queries (n, i, d) and keys (n, j, d) takes at most `budget` MiB."""
    return 4 * queries.shape[0] * queries.shape[1] * keys.shape[1] <= budget * 2**20


def attend(queries: Array, keys: Array, values: Array, budget: float, normalise_queries: bool = False) -> Array:
    """Computes `attention_summary(affinity(queries, keys), values)`, in blocks of `j` if the affinity exceeds a budget.

    The blocks keep a running maximum and sum of the softmax. The backward pass computes their affinities again, so it
    needs no affinity of all positions either.

    Args:
      queries: (n, i, d) of frame a.
      keys: (n, j, d) of frame b.
      values: (n, j, c) features of b.
      budget: largest affinity (n, i, j), or block of it, in MiB of float32.
      normalise_queries: apply a softmax over `i` before the one over `j`.

    Returns:
      (n, i, c).
    """

    def affinity_to(keys):
        similarity = affinity(queries, keys)
        return jax.nn.softmax(similarity, axis=1) if normalise_queries else similarity

    if fits_in_budget(queries, keys, budget):
        return attention_summary(affinity_to(keys), values)
    (n, i, _), (_, j, channels) = queries.shape, values.shape
    rows = max(1, int(budget * 2**20) // (4 * n * i))
    blocks = -(-j // rows)
    rows = -(-j // blocks)

    def split(x):  # (n, j, c) -> (blocks, n, rows, c), padded with zeros
        x = jnp.pad(x, ((0, 0), (0, blocks * rows - j), (0, 0)))
        return jnp.moveaxis(x.reshape(n, blocks, rows, -1), 1, 0)

    @jax.checkpoint
    def add(carry, block):
        largest, total, summary = carry  # (n, i), (n, i), (n, i, c)
        keys, values, exists = block
        similarity = jnp.where(exists, affinity_to(keys), -jnp.inf)  # (n, i, rows)
        # The maximum cancels out of the result, so it needs no gradient.
        larger = jax.lax.stop_gradient(jnp.maximum(largest, similarity.max(axis=2)))
        weights, scale = jnp.exp(similarity - larger[..., None]), jnp.exp(largest - larger)
        part = jnp.einsum("nij,njc->nic", weights.astype(values.dtype), values, preferred_element_type=jnp.float32)
        return (larger, total * scale + weights.sum(axis=2), summary * scale[..., None] + part), None

    exists = (jnp.arange(blocks * rows) < j).reshape(blocks, rows)
    start = jnp.full((n, i), -jnp.inf), jnp.zeros((n, i)), jnp.zeros((n, i, channels))
    (_, total, summary), _ = jax.lax.scan(add, start, (split(keys), split(values), exists))
    return (summary / total[..., None]).astype(values.dtype)


class Gate(nn.Module):
    """Eqs. 8 and 9: weights each position's summary by a gate in [0, 1], `sigmoid(w_f Z + b_f)`."""

    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, summary: Array) -> tuple[Array, Array]:
        """Maps Z (n, h, w, c) to the gated Z (n, h, w, c) and the gate (n, h, w)."""
        gate = nn.sigmoid(Conv(1, use_bias=self.use_bias, dtype=self.dtype, name="conv")(summary))  # f_g(Z), Eq. 8
        return summary * gate, gate[..., 0]  # Eq. 9
