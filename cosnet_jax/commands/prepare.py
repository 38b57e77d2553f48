"""`cosnet prepare`: a raw dataset folder to a prepared set."""

from __future__ import annotations

import argparse
import dataclasses

from cosnet_jax.data.config import DataConfig, SourceConfig
from cosnet_jax.errors import printable

EXAMPLE = "cosnet prepare davis16 --source DAVIS"
SETS = [field.name for field in dataclasses.fields(DataConfig) if isinstance(field.default, SourceConfig)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add = parser.add_argument
    add("dataset", choices=SETS, metavar="DATASET", help=f"one of {', '.join(SETS)}")
    add("--source", default="", metavar="RAW", help="folder of the dataset as downloaded; without it, sets are listed")
    add("--data-dir", default="", metavar="DIR", help="where prepared sets are kept (~/.cache/cosnet_jax)")


def run(arguments: argparse.Namespace) -> int:
    """Prepares, and prints what each prepared set holds, with the share of foreground."""
    from cosnet_jax.data.prepare import describe_prepared, prepare  # so that --help works without the extra `train`

    for folder in prepare(arguments.dataset, arguments.source, arguments.data_dir):
        print(printable(str(folder)))
        for line in describe_prepared(folder):
            print(printable(f"  {line}"))
    return 0
