"""The program `cosnet`, also `python -m cosnet_jax`: one module of `commands/` for each command."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from absl import logging

from cosnet_jax.errors import InputError, report_input_errors

COMMANDS = {
    "segment": "Cut the main object out of videos: masks, an overlay video, a contact sheet, videos with transparency.",
    "explain": "Show how a frame is segmented: masks by number of references, co-attention, gates.",
    "app": "Serve a web page on which visitors cut the main object out of their videos.",
    "convert": "Convert PyTorch weights (.pth) to a checkpoint.",
    "compare": "Compare every stage with PyTorch (needs torch); exit status 1 if one differs.",
    "export": "Write a checkpoint as one file: weights, PyTorch weights (.pth) or ONNX graphs (.onnx).",
    "prepare": "Check a dataset and store it for training and evaluation.",
    "ablate": "Compare numbers of references, fusions and samplings in one pass: the paper's Table 2, half of Table 1.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Only the module of that command is imported. A module has `add_arguments(parser)` and `run(arguments)`, which
    returns the exit status. One with `TAKES_OVERRIDES` also gets the settings `--config.KEY=VALUE`, as
    `arguments.overrides`.

    Args:
      arguments: the command line without the program's name; None takes the process's.

    Returns:
      The exit status.
    """
    listing = "\n".join(f"  {name:<15} {description}" for name, description in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="cosnet",
        description="COSNet in JAX: finds the main object of a video.",
        epilog=f"commands:\n{listing}\n\n`cosnet COMMAND --help` tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    chosen = parser.parse_args(arguments[:1])

    module, parsed = parse_command(chosen.command, arguments[1:])
    logging.set_verbosity(logging.ERROR)  # orbax would log every file it touches
    with report_input_errors():
        return module.run(parsed)


def parse_command(name: str, arguments: Sequence[str]) -> tuple[ModuleType, argparse.Namespace]:
    """Imports a command's module and reads its arguments; `--help` and wrong arguments end the program.

    Args:
      name: one of `COMMANDS`.
      arguments: the command line after the command's name.

    Returns:
      The module, and the arguments with `overrides`.
    """
    module = _import_command(name)
    takes_overrides = getattr(module, "TAKES_OVERRIDES", False)
    settings = (
        "`--config.KEY=VALUE` changes a setting; configs/base.py lists all of them.\n\n" if takes_overrides else ""
    )
    parser = argparse.ArgumentParser(
        prog=f"cosnet {name}",
        description=COMMANDS[name],
        epilog=f"{settings}example:\n  {module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parsed, others = parser.parse_known_args(arguments)
    if others and not takes_overrides:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    parsed.overrides = others
    return module, parsed


def _import_command(name: str) -> ModuleType:
    """Imports a command's module; what is not installed is one line and exit status 1."""
    with report_input_errors():
        try:
            return importlib.import_module(f"cosnet_jax.commands.{name.replace('-', '_')}")
        except ModuleNotFoundError as error:
            raise InputError(f"`cosnet {name}` needs {error.name}: pip install 'cosnet_jax[train]'") from None
