"""`cosnet train`: trains, or continues a training."""

from __future__ import annotations

import argparse

from cosnet_jax import parallel
from cosnet_jax.commands.arguments import add_config_arguments
from cosnet_jax.config import read_config
from cosnet_jax.files import expanded

EXAMPLE = "cosnet train --config=synthetic:smoke --workdir=out/smoke"
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_config_arguments(parser, "checkpoints, logs and the configuration")


def run(arguments: argparse.Namespace) -> int:
    """Trains; after SIGTERM the status is the configuration's."""
    from cosnet_jax.training.loop import train  # so that --help works without the extra `train`

    config = read_config(arguments.config, arguments.overrides)
    with parallel.several_processes():
        stopped = train(config, expanded(arguments.workdir))
    parallel.ignore_sigterm()
    return config.stopped_status if stopped else 0
