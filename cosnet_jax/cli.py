"""The commands of `python -m cosnet_jax`, one function each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from absl import logging

from cosnet_jax.errors import InputError, report_input_errors
from cosnet_jax.interop.presets import PRESETS


def convert(arguments: argparse.Namespace) -> int:
    """PyTorch weights -> checkpoint."""
    from cosnet_jax.interop.convert import convert

    output, config, initial_parts = convert(arguments.weights, arguments.output, arguments.preset)
    print(f"{output}: {config.model.backbone}, configuration {config.name}, fusion {config.inference.fusion}")
    if initial_parts:
        print(f"kept at initial values: {', '.join(initial_parts)} ({sum(initial_parts.values())} arrays)")
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Checkpoint of the released architecture -> PyTorch weights."""
    from cosnet_jax.interop.convert import export

    export(arguments.checkpoint, arguments.output)
    print(arguments.output)
    return 0


def pack(arguments: argparse.Namespace) -> int:
    """Checkpoint of a training -> a small file for inference."""
    from cosnet_jax.checkpoints import store as checkpoints
    from cosnet_jax.checkpoints import weights_file as packed

    packed.write(arguments.output, *checkpoints.load(arguments.checkpoint))
    print(arguments.output)
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """A table of the differences from PyTorch; 1 if one is above the tolerance."""
    from cosnet_jax.config import MIN_SIZE
    from cosnet_jax.interop.parity import compare_with_torch

    if min(arguments.size) < MIN_SIZE:
        raise InputError(f"--size is {tuple(arguments.size)}; expected at least {MIN_SIZE} pixels either way")
    rows = compare_with_torch(arguments.weights, tuple(arguments.size))
    print(f"{'stage':<12}{'absolute':>12}{'relative':>12}")
    for row in rows:
        above = "  above the tolerance" if not row.relative <= arguments.tolerance else ""
        print(f"{row.stage:<12}{row.absolute:>12.1e}{row.relative:>12.1e}{above}")
    worst = max(rows, key=lambda row: row.relative)
    good = all(row.relative <= arguments.tolerance for row in rows)
    print(f"largest relative difference {worst.relative:.1e} ({worst.stage}), tolerance {arguments.tolerance:.1e}")
    print("agrees with PyTorch" if good else "differs from PyTorch")
    return 0 if good else 1


def segment(arguments: argparse.Namespace) -> int:
    """Videos -> masks, overlay videos and contact sheets."""
    from cosnet_jax.commands.segment import segment

    size = tuple(arguments.size) if arguments.size else None
    folders = segment(
        arguments.inputs, arguments.output, arguments.checkpoint, size, arguments.num_references, arguments.sampling,
        arguments.fusion, arguments.crf, arguments.threshold, arguments.overlay, arguments.save_probabilities,
    )  # fmt: skip
    for folder in folders:
        print(folder)
    return 0


def ablate(arguments: argparse.Namespace) -> int:
    """A checkpoint on a benchmark -> the paper's Tables 1 and 2."""
    from cosnet_jax.commands.ablate import ablate
    from cosnet_jax.config import read_config

    print(ablate(read_config(arguments.config, arguments.overrides), arguments.workdir, arguments.checkpoint))
    return 0


def search_crf(arguments: argparse.Namespace) -> int:
    """A checkpoint on validation frames -> the scores of the CRF's settings."""
    from cosnet_jax.commands.search_crf import search_crf
    from cosnet_jax.config import read_config

    print(search_crf(read_config(arguments.config, arguments.overrides), arguments.workdir, arguments.checkpoint))
    return 0


def explain(arguments: argparse.Namespace) -> int:
    """A frame of a video -> a picture of how it was segmented."""
    from cosnet_jax.commands.explain import explain

    size, pixel = (tuple(given) if given else None for given in (arguments.size, arguments.pixel))
    explain(
        arguments.input, arguments.frame, arguments.output, arguments.checkpoint, pixel, size, arguments.sampling
    )  # fmt: skip
    print(arguments.output)
    return 0


def prepare(arguments: argparse.Namespace) -> int:
    """Raw dataset folder -> prepared set."""
    from cosnet_jax.data.prepare import prepare, summarise

    for folder in prepare(arguments.dataset, arguments.source, arguments.data_dir):
        print(folder)
        for line in summarise(folder):
            print(f"  {line}")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m cosnet_jax", description="COSNet in JAX.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(function, description: str) -> argparse.ArgumentParser:
        name = function.__name__.replace("_", "-")
        added = commands.add_parser(name, help=description, description=description)
        added.set_defaults(run=function)
        return added

    added = command(convert, "Convert PyTorch weights (.pth) to a checkpoint.")
    added.add_argument("weights", metavar="WEIGHTS.pth", help="the file; nothing in it is executed")
    added.add_argument("--output", required=True, metavar="DIR", help="a new folder for the checkpoint")
    added.add_argument(
        "--preset", choices=tuple(PRESETS), default="released",
        help="what the file holds: the authors' COSNet (default), their group model, their DeepLabv3 encoder, or "
        "torchvision's ResNet-50, ResNet-101 or DeepLabv3",
    )  # fmt: skip

    added = command(export, "Write a checkpoint of the released architecture as PyTorch weights (.pth).")
    added.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint, or the working directory of a training")
    added.add_argument("--output", required=True, metavar="WEIGHTS.pth", help="the file to write")

    added = command(pack, "Write what inference needs of a checkpoint into one file, at half precision.")
    added.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint, or the working directory of a training")
    added.add_argument("--output", required=True, metavar="FILE.npz", help="the file to write")

    added = command(compare, "Compare every stage with PyTorch (needs torch); exit status 1 if one differs.")
    added.add_argument("weights", metavar="WEIGHTS.pth", help="weights of the released COSNet or group model")
    added.add_argument("--size", nargs=2, type=int, default=(97, 97), metavar=("H", "W"), help="of the frames (97 97)")
    added.add_argument(
        "--tolerance", type=float, default=2e-5, help="largest difference, relative to a stage's largest value (2e-5)"
    )

    added = command(segment, "Cut the main object out of videos: masks, an overlay video, a contact sheet.")
    added.add_argument("inputs", nargs="+", metavar="INPUT", help="a video file, or a folder of jpg or png frames")
    added.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="folder of the results; several inputs get one each in it",
    )
    added.add_argument("--checkpoint", metavar="DIR", help="or the working directory of a training (the shipped model)")
    added.add_argument("--size", nargs=2, type=int, metavar=("H", "W"), help="of the network's input (as configured)")
    added.add_argument(
        "--num-references", type=int, default=5, metavar="N", help="frames that each frame is compared with (5)"
    )
    added.add_argument(
        "--sampling", default="uniform", help="of the references: uniform (default), random or consecutive"
    )
    added.add_argument("--fusion", default="summary", help="of references: summary (default), prediction or group")
    added.add_argument("--crf", action="store_true", help="sharpen the outlines by a fully connected CRF (slow)")
    added.add_argument("--threshold", type=float, default=0.5, help="foreground is what is more probable (0.5)")
    added.add_argument("--overlay", action=argparse.BooleanOptionalAction, default=True, help="write an overlay video")
    added.add_argument("--save-probabilities", action="store_true", help="write the probabilities as 16-bit PNGs")

    added = command(
        ablate, "Compare numbers of references, fusions and samplings in one pass: the paper's Table 2, half of 1."
    )
    added.add_argument("--config", required=True, metavar="FILE", help="a file of configs/")
    added.add_argument("--checkpoint", required=True, metavar="DIR", help="or the working directory of a training")
    added.add_argument("--workdir", required=True, metavar="OUT", help="folder for the tables and the report")
    added.epilog = "Settings are changed as in evaluate.py: --config.KEY=VALUE."

    added = command(search_crf, "Compare the release's nine settings of the CRF by mean J on validation frames.")
    added.add_argument("--config", required=True, metavar="FILE", help="a file of configs/")
    added.add_argument("--checkpoint", required=True, metavar="DIR", help="or the working directory of a training")
    added.add_argument("--workdir", required=True, metavar="OUT", help="folder for crf_search.json")
    added.epilog = (
        "Settings are changed as in evaluate.py: --config.KEY=VALUE. --config.validate_frames=N takes N frames of each "
        "sequence, --config.data.hold_out=NAME,NAME those sequences of the training set."
    )

    added = command(explain, "Show how a frame is segmented: masks by number of references, co-attention, gates.")
    added.add_argument("input", metavar="INPUT", help="a video file, or a folder of jpg or png frames")
    added.add_argument("--frame", type=int, required=True, metavar="K", help="number of the frame, from 0")
    added.add_argument("--pixel", nargs=2, type=int, metavar=("Y", "X"), help="whose co-attention is shown (likeliest)")
    added.add_argument("--output", default="explain.png", metavar="FILE.png", help="the picture (explain.png)")
    added.add_argument("--checkpoint", metavar="DIR", help="or the working directory of a training (the shipped model)")
    added.add_argument("--size", nargs=2, type=int, metavar=("H", "W"), help="of the network's input (as configured)")
    added.add_argument("--sampling", default="uniform", help="of references: uniform (default), random or consecutive")

    added = command(prepare, "Prepare a dataset for training and evaluation.")
    names = "davis16, fbms, youtube_objects, duts, msra10k, dut_omron or stills"
    added.add_argument("dataset", metavar="DATASET", help=names)
    added.add_argument("--source", default="", metavar="RAW", help="folder of the dataset as downloaded")
    added.add_argument(
        "--data-dir", default="", metavar="DIR", help="where prepared sets are kept (~/.cache/cosnet_jax)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      arguments: the command line without the program's name; None takes the process's.

    Returns:
      The exit status.
    """
    parser = make_parser()
    parsed, others = parser.parse_known_args(arguments)
    if parsed.run in (ablate, search_crf):
        parsed.overrides = others
    elif others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    logging.set_verbosity(logging.ERROR)  # orbax would log every file it touches
    with report_input_errors():
        return parsed.run(parsed)
