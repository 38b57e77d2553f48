"""The arguments of commands that run a checkpoint on a benchmark, as evaluate.py does."""

from __future__ import annotations

import argparse


def add_config_arguments(parser: argparse.ArgumentParser, workdir: str) -> None:
    """Declares the arguments; settings are changed by `--config.KEY=VALUE`, as in evaluate.py.

    Args:
      parser: the command's parser.
      workdir: says what the working directory receives.
    """
    parser.add_argument("--config", required=True, metavar="FILE", help="a file of configs/, that of the training")
    parser.add_argument(
        "--checkpoint",
        required=True,
        metavar="DIR",
        help="a checkpoint, a weights file, or the working directory of a training",
    )
    parser.add_argument("--workdir", required=True, metavar="OUT", help=f"folder for {workdir}")
