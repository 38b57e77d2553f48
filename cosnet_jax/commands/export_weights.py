"""`cosnet export-weights`: a checkpoint to a small file for inference."""

from __future__ import annotations

import argparse

from cosnet_jax.checkpoints.store import load_checkpoint
from cosnet_jax.checkpoints.weights_file import export_weights
from cosnet_jax.errors import printable

EXAMPLE = "cosnet export-weights out/lite --output mine.npz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint, or the working directory of a training")
    parser.add_argument("--output", required=True, metavar="FILE.npz", help="the file to write")


def run(arguments: argparse.Namespace) -> int:
    """Exports."""
    export_weights(arguments.output, *load_checkpoint(arguments.checkpoint))
    print(printable(str(arguments.output)))
    return 0
