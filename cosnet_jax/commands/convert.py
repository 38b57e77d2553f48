"""`cosnet convert`: PyTorch weights to a checkpoint."""

from __future__ import annotations

import argparse

from cosnet_jax.errors import printable
from cosnet_jax.interop.convert import convert
from cosnet_jax.interop.presets import PRESETS

EXAMPLE = "cosnet convert co_attention.pth --output out/released --preset released"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("weights", metavar="WEIGHTS", help="a .pth or .safetensors file; nothing in it is executed")
    parser.add_argument("--output", required=True, metavar="DIR", help="a new folder for the checkpoint")
    parser.add_argument(
        "--preset", choices=PRESETS, default="released",
        help="what the file holds: the authors' COSNet (default), their group model, their DeepLabv3 encoder, "
        "or torchvision's ResNet-50, ResNet-101 or DeepLabv3",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Converts."""
    config, initial_parts = convert(arguments.weights, arguments.output, arguments.preset)
    about = f"{config.model.backbone}, configuration {config.name}, fusion {config.inference.fusion}"
    print(printable(f"{arguments.output}: {about}"))
    if initial_parts:
        print(f"kept at initial values: {', '.join(initial_parts)} ({sum(initial_parts.values())} arrays)")
    return 0
