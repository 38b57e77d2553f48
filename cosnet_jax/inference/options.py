"""How a video is segmented: number, choice and fusion of the references, smoothing along the video."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from cosnet_jax.inference.crf import CRFParams
from cosnet_jax.inference.references import SAMPLINGS
from cosnet_jax.models import cosnet
from cosnet_jax.section import Section, setting

FUSIONS = ("prediction", *cosnet.FUSIONS)


@dataclass(frozen=True)
class InferenceOptions(Section, name="inference"):
    """How each frame is compared with its references.

    Attributes:
      num_references: N; 0 takes the encoder's own prediction.
      sampling: see `choose_references`.
      fusion: "prediction" averages the predictions of the references. The others are those of `COSNet.attend`:
        "summary" averages the attention summaries (Eq. 13), "group" and "group_released" attend to all references at
        once.
      seed: seed of random sampling.
      temporal_smoothing: standard deviation in frames of an average over neighbouring maps where the colour stays the
        same, see `smooth`; 0 for none. At 10 the maps of 21 frames are in memory.

    Raises:
      InputError: a value is unknown or out of range.
    """

    num_references: int = setting(5, low=0, high=100)
    sampling: str = setting("uniform", choices=SAMPLINGS)
    fusion: str = setting("summary", choices=FUSIONS)
    seed: int = setting(0, low=0, high=2**32 - 1)
    temporal_smoothing: float = setting(0.0, low=0, high=10)

    @classmethod
    def from_config(cls, config: ConfigDict, **given: Any) -> InferenceOptions:
        """Reads the options from a configuration, as every program does.

        Args:
          config: the whole configuration, e.g. a checkpoint's own; `inference` is read.
          **given: replace what the configuration says; None keeps it.

        Returns:
          The options.
        """
        stored = InferenceConfig.read(config.inference)
        chosen = {field.name: getattr(stored, field.name) for field in dataclasses.fields(InferenceOptions)}
        return InferenceOptions(**chosen | {name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class InferenceConfig(InferenceOptions, name="inference"):
    """The section `inference` of a configuration: the options above, the input's size and the CRF."""

    # (height, width) of the input at inference, swapped for tall videos; None is the size of training
    size: tuple[int, int] | None = setting(None, of=int, low=17, high=4096, length=2)
    crf: CRFParams = CRFParams()
