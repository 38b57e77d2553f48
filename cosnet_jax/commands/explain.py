"""`cosnet explain`: a picture of how a frame is segmented."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cosnet_jax.checkpoints.load import SHIPPED_MODEL, load_checkpoint
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import expanded, writable_folder, write_bytes
from cosnet_jax.inference import crf
from cosnet_jax.inference.attention_maps import attention_maps
from cosnet_jax.inference.references import choose_references
from cosnet_jax.inference.resize import match_orientation
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.models.build import build_model
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.video.reader import open_video
from cosnet_jax.video.video import Video
from cosnet_jax.visualization.explanation import draw_explanation

EXAMPLE = "cosnet explain clip.mp4 --frame 10 --output explain.png"
COUNTS = 0, 1, 2, 5  # N in Fig. 5 of the paper


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("input", metavar="INPUT", help="a video file, or a folder of jpg or png frames")
    parser.add_argument("--frame", type=int, required=True, metavar="K", help="number of the frame, from 0")
    parser.add_argument(
        "--pixel", nargs=2, type=int, metavar=("Y", "X"), help="place whose co-attention is shown (the likeliest)"
    )
    parser.add_argument("--output", default="explain.png", metavar="FILE.png", help="the picture (explain.png)")
    parser.add_argument(
        "--checkpoint", default=SHIPPED_MODEL, metavar="DIR",
        help="a checkpoint, a weights file, or the working directory of a training (the shipped model)",
    )  # fmt: skip
    parser.add_argument(
        "--size", nargs=2, type=int, metavar=("H", "W"), help="size of the network's input (the checkpoint's)"
    )
    parser.add_argument(
        "--sampling", help="choice of the references: uniform, random or consecutive (the checkpoint's)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the picture and prints its name."""
    size, pixel = (tuple(given) if given else None for given in (arguments.size, arguments.pixel))
    explain(
        arguments.input, arguments.frame, arguments.output, arguments.checkpoint, pixel, size, arguments.sampling
    )  # fmt: skip
    print(printable(str(arguments.output)))
    return 0


def explain(
    path: str | Path,
    frame: int,
    output: str | Path,
    checkpoint: str | Path = SHIPPED_MODEL,
    pixel: tuple[int, int] | None = None,
    size: tuple[int, int] | None = None,
    sampling: str | None = None,
) -> None:
    """Writes a picture of a frame: its masks with N = 0, 1, 2, 5 and the CRF (Fig. 5), co-attention, and gates.

    Args:
      path: a video file, or a folder of frames.
      frame: number of the frame, from 0.
      output: the picture, a PNG file.
      checkpoint: see `Segmenter.from_pretrained`.
      pixel: (y, x) in the frame, whose co-attention is shown; None takes the most probable one.
      size, sampling: as in `Segmenter.from_pretrained`.

    Raises:
      InputError: there is no such video, frame, pixel or checkpoint, or the network has no co-attention.
    """
    if Path(output).suffix.lower() != ".png":
        raise InputError(f"--output is {output}; expected a .png file")
    video = open_video(path)
    if not 0 <= frame < len(video):
        raise InputError(f"--frame is {frame}; {path} has the frames 0 to {len(video) - 1}")
    if pixel is not None and not all(0 <= at < length for at, length in zip(pixel, video.size, strict=True)):
        raise InputError(f"--pixel is {tuple(pixel)}; the frames are {video.size} (height, width)")
    variables, config = load_checkpoint(checkpoint)
    segmenter = Segmenter.from_config(config, variables, size=size, sampling=sampling)
    model = build_model(config.model)
    if model.coattention == "none":
        raise InputError(f"checkpoint: {checkpoint} has no co-attention to explain; expected one with it")
    params = crf.CRFParams.read(config.inference.crf)
    crf.check_installed(params)
    output = expanded(output)
    writable_folder(output.parent)

    picture = explanation(video, video.frame_names, frame, segmenter, model, variables, pixel, params)
    write_bytes(output, picture)


def explanation(
    video: Video,
    names: Sequence[str],
    frame: int,
    segmenter: Segmenter,
    model: COSNet,
    variables: dict[str, Any],
    pixel: tuple[int, int] | None = None,
    params: crf.CRFParams | None = None,
    counts: Sequence[int] = COUNTS,
) -> bytes:
    """Draws a frame's masks, and where one of its pixels finds its answer in the references.

    Args:
      video: the video.
      names: of its frames.
      frame: number of the frame.
      segmenter: says how frames are compared.
      model, variables: the segmenter's network.
      pixel: as in `explain`.
      params: of the CRF; None leaves its mask out.
      counts: the numbers of references, each of which gives a mask; the last one's references are shown.

    Returns:
      The content of a PNG file.
    """
    options, masks = dataclasses.replace(segmenter.options, temporal_smoothing=0.0), {}  # the clip is out of order
    for count in counts:
        references = choose_references(len(video), count, options.sampling, options.seed)[frame]
        clip = np.stack(list(video.read([frame, *references.tolist()])))
        (segmented,) = segmenter.segment(clip, [options], queries=[0], references=range(1, len(clip)))
        probability = segmented.probabilities[0]
        masks[f"N = {len(references)}"] = probability > 0.5
    if params:
        masks["CRF"] = crf.refine(clip[0], probability, params) > 0.5
    if pixel is None:
        pixel = np.unravel_index(probability.argmax(), probability.shape)
    input_size = match_orientation(segmenter.size, video.size)
    attention, gates = attention_maps(model, variables, clip, input_size, pixel, segmenter.matmul_precision)
    shown = [names[index] for index in (frame, *references)]
    return draw_explanation(clip, shown, masks, pixel, attention, gates)
