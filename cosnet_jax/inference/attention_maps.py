"""Looks inside the network: where a pixel finds its answer in the references, and how far the gates open."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from cosnet_jax.inference.network import get_network
from cosnet_jax.inference.resize import match_orientation, resize_frame
from cosnet_jax.inference.segmenter import Segmenter


def attention_maps(segmenter: Segmenter, clip: np.ndarray, pixel: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Computes the co-attention of one pixel, and the gates of its frame.

    Args:
      segmenter: has the network.
      clip: (1 + N, H, W, 3) uint8 RGB: the frame, then its references.
      pixel: (y, x) in the frame.

    Returns:
      The attention (N, h', w'), which sums to 1 over each reference (a column of S_c, Eq. 6), and the gates (N, h, w)
      of the frame's summaries over each reference (Eq. 8).
    """
    model, precision = segmenter.model, segmenter.matmul_precision
    size = match_orientation(segmenter.config.size, clip.shape[1:3])
    network = get_network(model, size, None, precision)  # compiled once for all segmenters
    variables = network.replicate(segmenter.variables)
    encoded = [next(network.encode(variables, [resize_frame(frame, size)])) for frame in clip]
    features, (keys, values) = encoded[0].features[None], map(jnp.stack, list(zip(*encoded[1:], strict=True))[1:])

    def apply(method, *arguments):
        return model.apply(segmenter.variables, *arguments, method=method)

    with jax.default_matmul_precision(precision):
        _, gates = apply("attend", features, keys[None], values[None])
        height, width = features.shape[1:3]
        row, column = pixel[0] * height // clip.shape[1], pixel[1] * width // clip.shape[2]
        query = apply("queries", features)[0, row * width + column]
        affinity = jnp.einsum("njd,d->nj", keys, query, preferred_element_type=jnp.float32)
        shape = [-(-length // model.reference_pooling) for length in (height, width)]
        attention = jax.nn.softmax(affinity, axis=1).reshape(-1, *shape)
    return np.asarray(attention, np.float32), np.asarray(gates[0], np.float32)
