"""`cosnet export`: a checkpoint of the released architecture to PyTorch weights."""

from __future__ import annotations

import argparse

from cosnet_jax.checkpoints.store import load_checkpoint
from cosnet_jax.errors import printable
from cosnet_jax.interop.convert import export_pth

EXAMPLE = "cosnet export out/released --output weights.pth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint, or the working directory of a training")
    parser.add_argument("--output", required=True, metavar="WEIGHTS.pth", help="the file to write")


def run(arguments: argparse.Namespace) -> int:
    """Exports."""
    export_pth(arguments.output, *load_checkpoint(arguments.checkpoint))
    print(printable(str(arguments.output)))
    return 0
