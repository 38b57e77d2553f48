"""The section `inference` of the configuration: how the frames of a video are compared."""

from __future__ import annotations

from dataclasses import dataclass

from cosnet_jax.inference.crf import CRFConfig
from cosnet_jax.inference.references import SAMPLINGS
from cosnet_jax.models import cosnet
from cosnet_jax.section import Section, setting

FUSIONS = ("prediction", *cosnet.FUSIONS)


@dataclass(frozen=True)
class InferenceConfig(Section, name="inference"):
    """How each frame is compared with its references.

    The fusion "prediction" averages the predictions of the references; the others are those of `COSNet.attend`.
    """

    num_references: int = setting(5, low=0, high=100)  # N; 0 is the encoder's own prediction
    sampling: str = setting("uniform", choices=SAMPLINGS)  # see `choose_references`
    fusion: str = setting("summary", choices=FUSIONS)
    seed: int = setting(0, low=0, high=2**32 - 1)  # of random sampling
    # Standard deviation in frames of an average over neighbouring maps where the colour stays the same; 0: none.
    temporal_smoothing: float = setting(0.0, low=0, high=10)
    size: tuple[int, int] | None = setting(  # (height, width) of the input, swapped for tall videos; None: `size`
        None, low=17, high=4096
    )
    edge_radius: int = setting(4, low=0, high=64)  # of `enlarge_guided`, in pixels of the network's map; 0: bilinear
    crf: CRFConfig = CRFConfig()
