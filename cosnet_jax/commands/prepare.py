"""`cosnet prepare`: a raw dataset folder to a prepared set."""

from __future__ import annotations

import argparse

from cosnet_jax.data.prepare import BUILDERS, describe_prepared, prepare
from cosnet_jax.errors import printable

EXAMPLE = "cosnet prepare davis16 --source DAVIS"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("dataset", metavar="DATASET", help=f"one of {', '.join(BUILDERS)}")
    parser.add_argument(
        "--source",
        default="",
        metavar="RAW",
        help="folder of the dataset as downloaded; without it, what was prepared before is listed",
    )
    parser.add_argument(
        "--data-dir", default="", metavar="DIR", help="where prepared sets are kept (~/.cache/cosnet_jax)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prepares, and prints what each prepared set holds."""
    for folder in prepare(arguments.dataset, arguments.source, arguments.data_dir):
        print(printable(str(folder)))
        for line in describe_prepared(folder):
            print(printable(f"  {line}"))
    return 0
