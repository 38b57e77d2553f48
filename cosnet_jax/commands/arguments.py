"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from typing import Any

from cosnet_jax.checkpoints.load import SHIPPED_MODEL
from cosnet_jax.inference.options import FUSIONS
from cosnet_jax.inference.references import SAMPLINGS

CHECKPOINT = "a checkpoint, a weights file, or the working directory of a training"
# Settings of `InferenceConfig`.
INFERENCE: dict[str, dict[str, Any]] = {
    "--size": {"nargs": 2, "type": int, "metavar": ("H", "W"), "help": "size of the network's input"},
    "--num-references": {"type": int, "metavar": "N", "help": "frames that each frame is compared with"},
    "--sampling": {"choices": SAMPLINGS, "help": "choice of the references"},
    "--fusion": {"choices": FUSIONS, "help": "fusion of the references"},
    "--seed": {"type": int, "help": "seed of random sampling"},
    "--smooth": {
        "type": float, "metavar": "FRAMES", "dest": "temporal_smoothing",
        "help": "standard deviation in frames of an average over neighbouring maps, so that masks flicker less",
    },
}  # fmt: skip


def add_network_arguments(parser: argparse.ArgumentParser, *names: str) -> None:
    """Declares the network, and some of `INFERENCE`; what is not given is the checkpoint's."""
    parser.add_argument("--checkpoint", default=SHIPPED_MODEL, metavar="DIR", help=f"{CHECKPOINT} (the shipped model)")
    for name in names:
        parser.add_argument(name, **INFERENCE[name])


def add_config_arguments(parser: argparse.ArgumentParser, workdir: str) -> None:
    """Declares the configuration and the working directory, which receives what `workdir` says."""
    parser.add_argument("--config", required=True, metavar="CONFIG", help="a file of configs/ or its name")
    parser.add_argument("--workdir", required=True, metavar="DIR", help=f"folder for {workdir}")
