"""`cosnet export`: a checkpoint to one file: weights for this program, weights for PyTorch, or graphs for ONNX."""

from __future__ import annotations

import argparse
from pathlib import Path

from cosnet_jax.checkpoints.load import load_checkpoint
from cosnet_jax.checkpoints.weights import SUFFIX, save_weights
from cosnet_jax.errors import InputError, printable
from cosnet_jax.interop.convert import export_pth

EXAMPLE = "cosnet export out/lite --output mine.safetensors"
SUFFIXES = (SUFFIX, ".pth", ".onnx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a checkpoint, the working directory of a training, or a weights file"
    )
    parser.add_argument(
        "--output", required=True, metavar="FILE",
        help=f"the file to write; its suffix says what: {SUFFIX} (weights for this program), .pth (weights for the "
        "authors' code; released architecture alone, needs torch) or .onnx (graphs X.encode.onnx and X.segment.onnx)",
    )  # fmt: skip
    parser.add_argument("--half", action="store_true", help=f"write {SUFFIX} at half precision: half the size")


def run(arguments: argparse.Namespace) -> int:
    """Exports."""
    output, suffix = arguments.output, Path(arguments.output).suffix
    if suffix not in SUFFIXES:
        raise InputError(f"--output is {output}; expected a name that ends in {', '.join(SUFFIXES)}")
    if arguments.half and suffix != SUFFIX:
        raise InputError(f"--half is for {SUFFIX}; expected {suffix} without it")
    variables, config = load_checkpoint(arguments.checkpoint)
    written = [output]
    if suffix == ".onnx":
        from cosnet_jax.interop.onnx import export_onnx  # an extra

        written = export_onnx(output, variables, config)
    elif suffix == ".pth":
        export_pth(output, variables, config)
    else:
        save_weights(output, variables, config, arguments.half)
    for path in written:
        print(printable(str(path)))
    return 0
