"""The program `cosnet`, also `python -m cosnet_jax`: one module of `commands/` for each command."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from cosnet_jax import __version__
from cosnet_jax.errors import InputError, report_input_errors

COMMANDS = {
    "segment": "Cut the main object out of videos: masks, an overlay video, a contact sheet, videos with transparency.",
    "live": "Cut the main object out of a camera or a stream while it runs.",
    "explain": "Show how a frame is segmented: masks by number of references, co-attention, gates.",
    "app": "Serve a web page on which visitors cut the main object out of their videos.",
    "train": "Train COSNet; the same command continues a training.",
    "evaluate": "Score a checkpoint, or a folder of masks, on a benchmark.",
    "ablate": "Compare numbers of references, fusions and samplings in one pass: the paper's Table 2, half of Table 1.",
    "prepare": "Check a dataset and store it for training and evaluation.",
    "convert": "Convert PyTorch weights (.pth) to a checkpoint.",
    "compare": "Compare every stage with PyTorch (needs torch); exit status 1 if one differs.",
    "export": "Write a checkpoint as weights (.safetensors), as PyTorch weights (.pth) or as graphs (.onnx).",
}
# The extra that has a library; those that are not named are in `train`.
EXTRAS = {"gradio": "app", "onnx": "onnx", "onnxruntime": "onnx", "ray": "ray", "torch": "torch"}


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are `InputError`s: one line and exit status 1, as for all other mistakes."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; `{self.prog} --help` tells more")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line, without the program's name (None: the process's), and returns the exit status.

    Only the module of the command is imported. A module has `add_arguments(parser)` and `run(arguments)`, which returns
    the exit status. One with `TAKES_OVERRIDES` also gets the settings `--config.KEY=VALUE`, as `arguments.overrides`.
    """
    listing = "\n".join(f"  {name:<10} {description}" for name, description in COMMANDS.items())
    parser = Parser(
        prog="cosnet",
        description="COSNet in JAX: finds the main object of a video.",
        epilog=f"commands:\n{listing}\n\n`cosnet COMMAND --help` tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cosnet_jax {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    logging.getLogger("absl").setLevel(logging.ERROR)  # orbax would log every file it touches
    with report_input_errors():
        name = parser.parse_args(arguments[:1]).command
        module, parsed = parse_command(name, arguments[1:])
        try:
            return module.run(parsed)
        except ModuleNotFoundError as error:
            extra = EXTRAS.get(error.name.partition(".")[0], "train")
            raise InputError(f"`cosnet {name}` needs {error.name}: pip install 'cosnet_jax[{extra}]'") from None


def parse_command(name: str, arguments: Sequence[str]) -> tuple[ModuleType, argparse.Namespace]:
    """Imports a command's module and reads its arguments, with `overrides`; `--help` ends the program."""
    module = importlib.import_module(f"cosnet_jax.commands.{name}")
    takes_overrides = getattr(module, "TAKES_OVERRIDES", False)
    settings = (
        "`--config.KEY=VALUE` changes a setting; configs/base.py lists all of them.\n\n" if takes_overrides else ""
    )
    parser = Parser(
        prog=f"cosnet {name}",
        description=COMMANDS[name],
        epilog=f"{settings}example:\n  {module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    parsed, others = parser.parse_known_args(arguments)
    if others and not takes_overrides:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    parsed.overrides = others
    return module, parsed
