"""`cosnet explain`: a picture of how a frame is segmented."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cosnet_jax.commands.segment import add_network_arguments
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import expanded, writable_folder, write_bytes
from cosnet_jax.inference import crf
from cosnet_jax.inference.attention_maps import attention_maps
from cosnet_jax.inference.segmenter import Segmenter
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
    add_network_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Writes the picture and prints its name."""
    size, pixel = (tuple(given) if given else None for given in (arguments.size, arguments.pixel))
    settings = {"checkpoint": arguments.checkpoint, "size": size, "sampling": arguments.sampling}
    explain(arguments.input, arguments.frame, arguments.output, pixel, **settings)
    print(printable(str(arguments.output)))
    return 0


def explain(
    path: str | Path,
    frame: int,
    output: str | Path,
    pixel: tuple[int, int] | None = None,
    *,
    checkpoint: str | Path,
    **settings: Any,
) -> None:
    """Writes a picture of a frame: its masks with N = 0, 1, 2, 5 and the CRF (Fig. 5), co-attention, and gates.

    Args:
      path, frame: the video, and the number of a frame, from 0.
      output: the picture, a PNG file.
      pixel: (y, x) in the frame, whose co-attention is shown; None takes the most probable one.
      checkpoint, **settings: see `Segmenter.from_pretrained`.

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
    segmenter = Segmenter.from_pretrained(checkpoint, **settings)
    if segmenter.model.coattention == "none":
        raise InputError(f"checkpoint: {checkpoint} has no co-attention to explain; expected one with it")
    crf.check_installed(segmenter.config.crf)
    output = expanded(output)
    writable_folder(output.parent)
    write_bytes(output, explanation(video, video.frame_names, frame, segmenter, pixel, refined=True))


def explanation(
    video: Video,
    names: Sequence[str],
    frame: int,
    segmenter: Segmenter,
    pixel: tuple[int, int] | None = None,
    counts: Sequence[int] = COUNTS,
    refined: bool = False,
) -> bytes:
    """Draws a frame's masks, and where one of its pixels finds its answer in the references.

    Args:
      video, names: the video, and names of its frames.
      frame, pixel: as in `explain`.
      segmenter: has the network, and says how frames are compared.
      counts: the numbers of references, each of which gives a mask; the last one's references are shown.
      refined: whether the mask of the CRF is shown too.

    Returns:
      The content of a PNG file.
    """
    masks = {}
    for count in counts:
        options = dataclasses.replace(segmenter.config, num_references=count, temporal_smoothing=0.0)
        references = segmenter.references(len(video), options)[frame]
        clip = np.stack(list(video.read([frame, *references.tolist()])))
        (prediction,) = segmenter.predict(clip, [options], queries=[0], references=range(1, len(clip)))
        probability = prediction.probabilities[0]
        masks[f"N = {len(references)}"] = probability > 0.5
    if refined:
        masks["CRF"] = crf.refine(clip[0], probability, segmenter.config.crf) > 0.5
    if pixel is None:
        pixel = np.unravel_index(probability.argmax(), probability.shape)
    attention, gates = attention_maps(segmenter, clip, pixel)
    shown = [names[index] for index in (frame, *references)]
    return draw_explanation(clip, shown, masks, pixel, attention, gates)
