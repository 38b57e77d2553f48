"""The settings of the data."""

from __future__ import annotations

from dataclasses import dataclass

from cosnet_jax.errors import InputError
from cosnet_jax.section import Section, setting


@dataclass(frozen=True)
class SourceConfig(Section, name="data"):
    """One dataset."""

    source: str = ""  # the set's folder as downloaded; several of `stills` and `videos`, separated by commas


@dataclass(frozen=True)
class SyntheticConfig(Section, name="data.synthetic"):
    """Videos and still images that are drawn instead of read."""

    num_videos: int = setting(200, low=1)  # of training; validation has its own
    num_val_videos: int = setting(10, low=1)
    num_frames: int = setting(20, low=1)
    num_stills: int = setting(2000, low=1)
    size: tuple[int, int] = setting((96, 96), low=16)


@dataclass(frozen=True)
class AugmentConfig(Section, name="data.augment"):
    """The strength of the augmentation."""

    crop: float = setting(0.9, low=0.01, high=1)  # smallest share of each side that a random crop keeps
    scale: tuple[float, float] = setting((0.7, 1.3), low=0.01, high=100)  # smallest and largest zoom
    flip: float = setting(0.5, low=0, high=1)  # probability of a horizontal flip
    colour: float = setting(0.0, low=0, high=0.99)  # largest relative change of brightness, contrast and saturation

    def __post_init__(self):
        super().__post_init__()
        if self.scale[0] > self.scale[1]:
            raise InputError(f"data.augment.scale is {self.scale}; expected the smaller number first")


@dataclass(frozen=True)
class DataConfig(Section, name="data"):
    """Which datasets, where they are, and how batches are made of them."""

    data_dir: str = ""  # where prepared sets are kept; "" is ~/.cache/cosnet_jax
    train_videos: str = "davis16"  # of davis16, fbms, videos, synthetic
    train_stills: str = "msra10k,dut_omron"  # of duts, msra10k, dut_omron, stills, synthetic
    video_weights: str = ""  # "davis16=2,SET=0.5": drawn in proportion to weight x number of annotated frames
    still_weights: str = ""  # "duts=2,msra10k=1": drawn in proportion to weight x number of images
    still_pairs: float = setting(0.0, low=0, high=0.99)  # share of the pairs that are two variations of a still image
    hold_out: str = ""  # sequences of the train split to validate on instead of training, "bear,bus"
    eval_dataset: str = "davis16"
    eval_split: str = "val"
    threads: int = setting(0, low=0)  # that decode and augment; 0: one per core
    davis16: SourceConfig = SourceConfig()
    duts: SourceConfig = SourceConfig()
    msra10k: SourceConfig = SourceConfig()
    dut_omron: SourceConfig = SourceConfig()
    stills: SourceConfig = SourceConfig()
    videos: SourceConfig = SourceConfig()
    fbms: SourceConfig = SourceConfig()
    youtube_objects: SourceConfig = SourceConfig()
    synthetic: SyntheticConfig = SyntheticConfig()
    augment: AugmentConfig = AugmentConfig()


def split_names(text: str) -> list[str]:
    """Splits names at commas: "a, b" is ["a", "b"]."""
    return [name.strip() for name in text.split(",") if name.strip()]
