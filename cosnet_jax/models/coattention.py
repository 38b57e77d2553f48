"""The co-attention between two frames of a video (paper, section 3.1).

Frame a is the query, frame b a reference. Positions are `i` in a and `j` in b, channels `c` (of the features) and `d` (of the
space they are compared in). Every variant writes the affinity of Eq. 1 as an inner product `s[j, i] = key_b[j] . query_a[i]`
in which the key depends on b alone and the query on a alone, so that at test time a reference's key is computed once.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from cosnet_jax.models.layers import Conv

Array = jax.Array


def scaled_identity(key: Array, shape: tuple[int, int]) -> Array:
    """I / sqrt(C): the affinity starts as the scaled inner product of the features."""
    del key
    return jnp.eye(*shape) / shape[0] ** 0.5


class Vanilla(nn.Module):
    """Eqs. 1-3: `S = V_b^T W V_a` with one unconstrained C x C matrix W."""

    channels: int

    def setup(self):
        self.weight = self.param("weight", scaled_identity, (self.channels, self.channels))

    def query(self, a: Array) -> Array:
        return a

    def key(self, b: Array) -> Array:
        return jnp.einsum("njc,cd->njd", b, self.weight.astype(b.dtype))  # V_b^T W


class Symmetric(nn.Module):
    """Eq. 4: `S = (P V_b)^T D (P V_a)` with P kept near orthogonal by the regularisation of Eq. 12, and D diagonal."""

    channels: int

    def setup(self):
        self.projection = self.param("projection", nn.initializers.orthogonal(), (self.channels, self.channels))
        self.diagonal = self.param("diagonal", nn.initializers.constant(self.channels**-0.5), (self.channels,))

    def query(self, a: Array) -> Array:
        return jnp.einsum("dc,nic->nid", self.projection.astype(a.dtype), a)  # P V_a

    def key(self, b: Array) -> Array:
        return self.query(b) * self.diagonal.astype(b.dtype)  # D (P V_b)


class Channelwise(nn.Module):
    """Eq. 5: `S = (D_a V_b)^T (D_b V_a)`; a frame's channel weights come from its own features by pooling, dense and sigmoid.

    D_a and D_b are diagonal, so either may stand at either feature: `(D_a V_b)^T (D_b V_a) = (D_b V_b)^T (D_a V_a)`. Written
    the second way each factor depends on one frame alone.
    """

    channels: int

    def setup(self):
        self.dense = nn.Dense(self.channels)

    def query(self, a: Array) -> Array:
        weights = nn.sigmoid(self.dense(a.mean(axis=1, keepdims=True)))  # (n, 1, c): the diagonal of D_a
        return a * weights.astype(a.dtype)

    def key(self, b: Array) -> Array:
        return self.query(b)


VARIANTS = {"vanilla": Vanilla, "symmetric": Symmetric, "channelwise": Channelwise}


def compare(queries: Array, keys: Array) -> Array:
    """The affinity S of every pair of positions (Eq. 1), computed in float32.

    Args:
      queries: (n, i, d) of frame a.
      keys: (n, j, d) of frame b.

    Returns:
      (n, j, i).
    """
    return jnp.einsum("njd,nid->nji", keys, queries, preferred_element_type=jnp.float32)


def summarise(affinity: Array, values: Array) -> Array:
    """The attention summary of every position of a over those of b (Eqs. 6 and 7).

    Args:
      affinity: (n, j, i) float32.
      values: (n, j, c) features of b.

    Returns:
      (n, i, c).
    """
    attention = jax.nn.softmax(affinity, axis=1)  # S_c: over j for each i, Eq. 6
    return jnp.einsum("nji,njc->nic", attention.astype(values.dtype), values)  # Z_a = V_b S_c, Eq. 7


class Gate(nn.Module):
    """Eqs. 8 and 9: how much of each position's summary to believe, `sigmoid(w_f Z + b_f)`, times the summary."""

    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, summary: Array) -> Array:
        """Maps (n, h, w, c) to the gated (n, h, w, c)."""
        gate = nn.sigmoid(Conv(1, use_bias=self.use_bias, dtype=self.dtype, name="conv")(summary))  # f_g(Z), Eq. 8
        self.sow("intermediates", "gate", gate)
        return summary * gate  # Eq. 9
