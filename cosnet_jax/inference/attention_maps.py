"""Looks inside the network: where a pixel finds its answer in the references, and how far the gates open."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cosnet_jax.inference.network import get_network
from cosnet_jax.models.cosnet import COSNet


def attention_maps(
    model: COSNet,
    variables: dict[str, Any],
    clip: np.ndarray,
    size: tuple[int, int],
    pixel: tuple[int, int],
    matmul_precision: str = "default",
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the co-attention of one pixel, and the gates of its frame.

    Args:
      model: the network.
      variables: its parameters and statistics.
      clip: (1 + N, H, W, 3) uint8 RGB: the frame, then its references.
      size: (height, width) of the network's input.
      pixel: (y, x) in the frame.
      matmul_precision: see `Segmenter`.

    Returns:
      The attention (N, h', w'), which sums to 1 over each reference (a column of S_c, Eq. 6), and the gates (N, h, w)
      of the frame's summaries over each reference (Eq. 8).
    """
    network = get_network(model, size, None, matmul_precision)  # the segmenter's: it is compiled once for both
    replicated, images = network.replicate(variables), [network.resize_input(frame) for frame in clip]
    batches = [images[start : start + network.batch_size] for start in range(0, len(images), network.batch_size)]
    encoded = [frame for batch in batches for frame in network.encode(replicated, batch)]
    features = np.stack([frame.features for frame in encoded])
    with jax.default_matmul_precision(matmul_precision):
        count, (height, width) = len(clip) - 1, features.shape[1:3]
        queries: Any = model.apply(variables, features[:1], method="queries")
        keys = np.stack([frame.keys for frame in encoded[1:]])
        row, column = pixel[0] * height // clip.shape[1], pixel[1] * width // clip.shape[2]
        query = queries[0, row * width + column]
        affinity = jnp.einsum("njd,d->nj", keys, query, preferred_element_type=jnp.float32)
        shape = [-(-length // model.reference_pooling) for length in (height, width)]
        attention = jax.nn.softmax(affinity, axis=1).reshape(count, *shape)
        values: Any = model.apply(variables, features[1:], method="values")
        _, gates = model.apply(variables, features[:1], keys[None], values[None], method="attend")
    return np.asarray(attention, np.float32), np.asarray(gates[0], np.float32)
