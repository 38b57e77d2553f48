"""Writes a page that plays a sequence with its masks, as one HTML file that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosnet_jax.evaluation.predictions import read_sequence_masks
from cosnet_jax.report.page import data_uri, encoded_uri, render
from cosnet_jax.report.tables import percent
from cosnet_jax.video.video import evenly_spaced_indices
from cosnet_jax.visualization.overlays import OPACITY, PREDICTION_COLOUR, TRUTH_COLOUR, draw_contour

WIDTH = 640  # pixels; wider frames are scaled down


def write_player(
    path: Path, sequence: Any, masks_dir: Path, scores: Mapping[str, float], max_frames: int, report: str = ""
) -> None:
    """Writes the page of a sequence: its frames, over which prediction and ground truth are switched on and off.

    Args:
      path: the file; its folder must exist.
      sequence: the sequence; see `cosnet_jax.data.sequence.Sequence`.
      masks_dir: the folder of the predicted masks of all sequences; frames without a mask are left out.
      scores: J of each evaluated frame, by its name.
      max_frames: of a sequence that are shown, at even distances.
      report: address of the report, which the page links back to.

    Raises:
      InputError: a frame or a mask cannot be read, or the file cannot be written.
    """
    predictions = read_sequence_masks(masks_dir, sequence)
    indices, frames = list(predictions), []
    for position in evenly_spaced_indices(len(indices), max_frames):
        i = indices[position]
        image, truth = sequence.frame_and_mask(i)
        name = sequence.frame_names[i]
        frames.append(
            {
                "name": name,
                "image": data_uri(image, WIDTH),
                "prediction": layer(predictions[i], PREDICTION_COLOUR),
                "truth": "" if truth is None else layer(truth, TRUTH_COLOUR),
                "score": f"J {percent(scores[name])}" if name in scores else "",
            }
        )
    height, width = sequence.size
    render(
        path,
        "player.html",
        title=sequence.name,
        frames=frames,
        report=report,
        width=WIDTH,
        aspect=width / height,
        colours={"prediction": PREDICTION_COLOUR, "truth": TRUTH_COLOUR},
    )


def layer(mask: np.ndarray, colour: tuple[int, int, int]) -> str:
    """Draws a mask to be laid over its frame, as `overlay` does.

    Args:
      mask: (h, w) bool or {0, 1}.
      colour: RGB, 0-255.

    Returns:
      The data URI of a PNG with transparency, at most `WIDTH` wide.
    """
    mask = np.ascontiguousarray(mask, dtype=bool)
    height, width = mask.shape
    if width > WIDTH:
        size = WIDTH, max(1, round(height * WIDTH / width))
        mask = cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    picture = np.zeros((*mask.shape, 4), np.uint8)
    picture[mask] = *colour[::-1], round(255 * OPACITY)
    draw_contour(picture, mask, (*colour[::-1], 255))
    return encoded_uri("png", cv2.imencode(".png", picture)[1])
