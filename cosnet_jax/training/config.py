"""The whole configuration of a training or an evaluation: the settings of the loop, and a section for each part."""

from __future__ import annotations

from dataclasses import dataclass

from ml_collections import ConfigDict

from cosnet_jax.data.config import DataConfig
from cosnet_jax.distributed import DistributedConfig
from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.protocols import EvaluationConfig
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.models.build import ModelConfig
from cosnet_jax.section import Section, setting
from cosnet_jax.training.losses import LossConfig
from cosnet_jax.training.optimizer import STEP_KINDS, OptimizerConfig


@dataclass(frozen=True)
class Config(Section, name=""):
    """Every setting there is, with the paper's values where the paper has one."""

    name: str = "base"
    seed: int = setting(0, low=0, high=2**32 - 1)  # of initial parameters, order of the data and augmentation
    size: tuple[int, int] = setting((473, 473), low=17, high=4096)  # (height, width) of the network's input
    batch_size: int = setting(8, low=1)  # images of a still step, pairs of a video step; over all devices
    total_steps: int = setting(60_000, low=1)  # chosen
    step_pattern: str = "still,video"  # kinds of steps, repeated: the paper alternates the two
    recipe: str = setting("paper", choices=("paper", "released"))  # released: the losses and statistics of that code
    init: str = ""  # initial weights: of the backbone, an .npz; or a checkpoint; "" starts from random ones
    freeze_batch_norm: bool = False  # normalise by the running statistics in training too
    # Micro-batches per step (gradient accumulation), to save memory. Losses and gradients are averaged; batch
    # normalisation has the statistics of one micro-batch.
    accumulate_steps: int = setting(1, low=1)
    nonfinite_steps: str = setting("stop", choices=("stop", "skip"))  # where a loss or gradient is not finite
    # Of products and convolutions. default: the accelerator's own (TF32 on NVIDIA, bfloat16 on TPU).
    matmul_precision: str = setting("default", choices=("default", "float32"))

    log_every: int = setting(20, low=1)  # steps
    validate_every: int = setting(2000, low=0)  # steps; 0: never
    validate_frames: int = setting(8, low=0)  # evenly spaced frames of each sequence; 0: all
    checkpoint_every: int = setting(1000, low=1)  # steps; there is a checkpoint before each validation too
    keep_checkpoints: int = setting(2, low=1)  # the newest; the best by validation is kept besides
    stopped_status: int = setting(0, low=0, high=255)  # exit status after SIGTERM; Kubernetes needs another one than 0
    profile_steps: tuple[int, int] | None = setting(None, low=1)  # (first, last) of a trace

    distributed: DistributedConfig = DistributedConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    data: DataConfig = DataConfig()
    inference: InferenceConfig = InferenceConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def __post_init__(self):
        super().__post_init__()
        for kind in self.step_kinds:
            if kind not in STEP_KINDS:
                expected = f"{' and '.join(STEP_KINDS)}, separated by commas"
                raise InputError(f"step_pattern is {self.step_pattern!r}; expected {expected}")
        if self.profile_steps and self.profile_steps[0] > self.profile_steps[1]:
            raise InputError(f"profile_steps is {self.profile_steps}; expected (first, last) step, counted from 1")

    @property
    def step_kinds(self) -> list[str]:
        """The kinds of steps of `step_pattern`."""
        return [kind.strip() for kind in self.step_pattern.split(",")]


def check_config(config: ConfigDict) -> None:
    """Checks every setting; raises an InputError that names the first wrong one, its value and what was expected."""
    Config.read(config)
