"""`cosnet explain`: a picture of how a frame is segmented."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cosnet_jax.commands.arguments import add_network_arguments
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import expanded, writable_folder, write_bytes
from cosnet_jax.inference import crf
from cosnet_jax.inference.attention_maps import attention_maps
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.video.reader import open_video
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
    add_network_arguments(parser, "--size", "--sampling")


def run(arguments: argparse.Namespace) -> int:
    """Writes the picture and prints its name."""
    settings = {name: getattr(arguments, name) for name in ("pixel", "checkpoint", "size", "sampling")}
    explain(arguments.input, arguments.frame, arguments.output, **settings)
    print(printable(str(arguments.output)))
    return 0


def explain(
    path: str | Path,
    frame: int,
    output: str | Path,
    pixel: Sequence[int] | None = None,
    *,
    checkpoint: str | Path,
    counts: Sequence[int] = COUNTS,
    **settings: Any,
) -> None:
    """Writes a picture of a frame: its masks with N = 0, 1, 2, 5 and the CRF (Fig. 5), co-attention, and gates.

    Args:
      path, frame: the video, and the number of a frame, from 0.
      output: the picture, a PNG file.
      pixel: (y, x) in the frame, whose co-attention is shown; None takes the most probable one.
      checkpoint, **settings: see `Segmenter.from_pretrained`.
      counts: the numbers of references, each of which gives a mask; the last one's references are shown.

    Raises:
      InputError: there is no such video, frame, pixel or checkpoint, or the network has no co-attention.
    """
    output, video = expanded(output), open_video(path)
    if output.suffix.lower() != ".png":
        raise InputError(f"--output is {output}; expected a .png file")
    if not 0 <= frame < len(video):
        raise InputError(f"--frame is {frame}; {path} has the frames 0 to {len(video) - 1}")
    if pixel is not None and not all(0 <= at < length for at, length in zip(pixel, video.size, strict=True)):
        raise InputError(f"--pixel is {tuple(pixel)}; the frames are {video.size} (height, width)")
    segmenter = Segmenter.from_pretrained(checkpoint, **settings)
    if segmenter.model.coattention == "none":
        raise InputError(f"checkpoint: {checkpoint} has no co-attention to explain; expected one with it")
    crf.check_installed(segmenter.config.crf)
    writable_folder(output.parent)

    masks = {}
    for count in counts:
        # Smoothing would mix the frame with its references.
        options = dataclasses.replace(segmenter.config, num_references=count, temporal_smoothing=0.0)
        references = segmenter.references(len(video), options)[frame]
        clip = video.read([frame, *references.tolist()])
        (prediction,) = segmenter.predict(clip, [options], queries=[0], references=range(1, len(clip)))
        probability = prediction.probabilities[0]
        masks[f"N = {len(references)}"] = probability > 0.5
    masks["CRF"] = crf.refine(clip[0], probability, segmenter.config.crf) > 0.5
    y, x = np.unravel_index(probability.argmax(), probability.shape) if pixel is None else pixel
    attention, gates = attention_maps(segmenter, clip, (y, x))
    names = [video.frame_names[index] for index in (frame, *references)]
    write_bytes(output, draw_explanation(clip, names, masks, (y, x), attention, gates))
