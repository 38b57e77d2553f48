"""How a video is segmented: number, choice and fusion of the references, smoothing along the video."""

from __future__ import annotations

import dataclasses

from ml_collections import ConfigDict

from cosnet_jax.errors import InputError
from cosnet_jax.inference.references import SAMPLINGS
from cosnet_jax.models import cosnet
from cosnet_jax.ranges import check_range

FUSIONS = ("prediction", *cosnet.FUSIONS)


@dataclasses.dataclass(frozen=True)
class InferenceOptions:
    """How each frame is compared with its references.

    Attributes:
      num_references: N, at most 100; 0 takes the encoder's own prediction.
      sampling: "uniform", "random" or "consecutive", see `choose_references`.
      fusion: "prediction" averages the predictions of the references. The others are those of `COSNet.attend`:
        "summary" averages the attention summaries (Eq. 13), "group" and "group_released" attend to all references at
        once.
      seed: seed of random sampling.
      temporal_smoothing: standard deviation in frames of the average over neighbouring maps, see `smooth`; 0 for none.
        At most 10: the maps of 21 frames are in memory then.

    Raises:
      InputError: for an unknown sampling or fusion, or a number out of range, see `RANGES` in `ranges.py`.
    """

    num_references: int = 5
    sampling: str = "uniform"
    fusion: str = "summary"
    seed: int = 0
    temporal_smoothing: float = 0.0

    def __post_init__(self):
        check_range("inference.num_references", self.num_references)
        check_range("inference.temporal_smoothing", self.temporal_smoothing)
        check_range("seed", self.seed)
        if self.sampling not in SAMPLINGS:
            raise InputError(f"inference.sampling is {self.sampling!r}; expected one of {', '.join(SAMPLINGS)}")
        if self.fusion not in FUSIONS:
            raise InputError(f"inference.fusion is {self.fusion!r}; expected one of {', '.join(FUSIONS)}")

    @classmethod
    def from_config(
        cls,
        config: ConfigDict,
        *,
        num_references: int | None = None,
        sampling: str | None = None,
        fusion: str | None = None,
        seed: int | None = None,
        temporal_smoothing: float | None = None,
    ) -> InferenceOptions:
        """Reads the options from a configuration, as every program does.

        Args:
          config: the whole configuration, e.g. a checkpoint's own; `inference` and `seed` are read.
          num_references, sampling, fusion, seed, temporal_smoothing: replace what the configuration says; None keeps
            it. A stored configuration that knows no smoothing stands for none.

        Returns:
          The options.
        """
        return cls(
            num_references=config.inference.num_references if num_references is None else num_references,
            sampling=config.inference.sampling if sampling is None else sampling,
            fusion=config.inference.fusion if fusion is None else fusion,
            seed=config.seed if seed is None else seed,
            temporal_smoothing=(
                config.inference.get("temporal_smoothing", 0.0) if temporal_smoothing is None else temporal_smoothing
            ),
        )
