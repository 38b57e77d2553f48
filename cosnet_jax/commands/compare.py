"""`cosnet compare`: the differences from PyTorch, stage by stage."""

from __future__ import annotations

import argparse

from cosnet_jax.config import MIN_SIZE
from cosnet_jax.errors import InputError
from cosnet_jax.interop.parity import compare_with_torch

EXAMPLE = "cosnet compare co_attention.pth --size 473 473"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("weights", metavar="WEIGHTS.pth", help="weights of the released COSNet or group model")
    parser.add_argument(
        "--size", nargs=2, type=int, default=(97, 97), metavar=("H", "W"), help="size of the frames (97 97)"
    )
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="largest difference, relative to a stage's largest value (1e-4)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the table; the status is 1 if a difference is above the tolerance."""
    if min(arguments.size) < MIN_SIZE:
        raise InputError(f"--size is {tuple(arguments.size)}; expected at least {MIN_SIZE} pixels either way")
    differences = compare_with_torch(arguments.weights, tuple(arguments.size))
    agrees = all(difference <= arguments.tolerance for difference in differences.values())
    for stage, difference in differences.items():
        print(f"{stage:<12}{difference:>9.1e}{'' if difference <= arguments.tolerance else '  above the tolerance'}")
    print("agrees with PyTorch" if agrees else "differs from PyTorch")
    return 0 if agrees else 1
