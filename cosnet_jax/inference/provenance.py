"""What decides the maps of a video, apart from its frames: results that say the same need not be made again."""

from __future__ import annotations

import dataclasses
from importlib import metadata
from typing import Any

from ml_collections import ConfigDict

from cosnet_jax.checkpoints.digests import digest_of
from cosnet_jax.config import as_stored
from cosnet_jax.inference.crf import CRFParams
from cosnet_jax.inference.segmenter import Segmenter


def describe_inference(
    config: ConfigDict, variables: dict[str, Any], segmenter: Segmenter, params: CRFParams | None
) -> dict[str, Any]:
    """Describes what maps are made with.

    Args:
      config: of the network, at least its section `model`.
      variables: the network's parameters and statistics.
      segmenter: of the network.
      params: of the CRF, if there is one.

    Returns:
      What JSON can store: the version of this package, a digest of the weights, the network, size, options and CRF.
    """
    return {
        "version": metadata.version("cosnet_jax"),
        "weights": digest_of(variables),
        "model": as_stored(config.model),
        "size": list(segmenter.size),
        "options": dataclasses.asdict(segmenter.options),
        "crf": dataclasses.asdict(params) if params else None,
    }
