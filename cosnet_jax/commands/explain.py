"""Shows why a frame is segmented as it is: which places of the references answered a pixel, and what each one adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cosnet_jax.checkpoints import store as checkpoints
from cosnet_jax.config import MIN_SIZE, inference_size
from cosnet_jax.errors import InputError
from cosnet_jax.files import atomic_write, writable_folder
from cosnet_jax.inference import crf
from cosnet_jax.inference.references import choose_references
from cosnet_jax.inference.resize import match_orientation, resize_antialiased
from cosnet_jax.inference.segmenter import InferenceOptions, Segmenter
from cosnet_jax.models.build import build_model
from cosnet_jax.models.cosnet import COSNet, flatten
from cosnet_jax.video.reader import open_video
from cosnet_jax.visualization.explanation import draw_explanation

COUNTS = 0, 1, 2, 5  # N in Fig. 5 of the paper


def explain(
    path: str | Path,
    frame: int,
    output: str | Path,
    checkpoint: str | Path | None,
    pixel: tuple[int, int] | None = None,
    size: tuple[int, int] | None = None,
    sampling: str = "uniform",
) -> None:
    """Writes a picture of a frame: its masks with N = 0, 1, 2, 5 and the CRF (Fig. 5), co-attention, and gates.

    Args:
      path: a video file, or a folder of frames.
      frame: number of the frame, from 0.
      output: the picture, a PNG file.
      checkpoint: see `checkpoints.find`; None takes the shipped model.
      pixel: (y, x) in the frame, whose co-attention is shown; None takes the most probable one.
      size: (height, width) of the network's input; None takes the configuration's.
      sampling: of the references, see `choose_references`.

    Raises:
      InputError: there is no such video, frame, pixel or checkpoint, or the network has no co-attention.
    """
    if Path(output).suffix.lower() != ".png":
        raise InputError(f"--output is {output}; expected a .png file")
    if size is not None and min(size) < MIN_SIZE:
        raise InputError(f"--size is {tuple(size)}; expected at least {MIN_SIZE} pixels either way")
    crf.check_installed()
    video = open_video(path)
    if not 0 <= frame < len(video):
        raise InputError(f"--frame is {frame}; {path} has the frames 0 to {len(video) - 1}")
    if pixel is not None and not all(0 <= place < length for place, length in zip(pixel, video.size, strict=True)):
        raise InputError(f"--pixel is {tuple(pixel)}; the frames are {video.size} (height, width)")
    tables = [choose_references(len(video), count, sampling)[frame] for count in COUNTS]
    writable_folder(Path(output).expanduser().parent)
    variables, config = checkpoints.load(checkpoint or checkpoints.PRETRAINED)
    if config.model.coattention == "none":
        raise InputError(f"checkpoint: {checkpoint} has no co-attention to explain")
    model, size = build_model(config.model), match_orientation(size or inference_size(config), video.size)

    segmenter = Segmenter(model, variables, size, InferenceOptions(sampling=sampling))
    masks = {}
    for row in tables:
        clip = video.read([frame, *row.tolist()])
        probability = next(segmenter.stream(clip, range(1, len(clip))))
        masks[f"N = {len(row)}"] = probability > 0.5
    masks["CRF"] = crf.refine(clip[0], probability) > 0.5
    if pixel is None:
        pixel = np.unravel_index(probability.argmax(), probability.shape)
    attention, gates = look_inside(model, variables, clip, size, pixel)
    names = [video.frame_names[index] for index in (frame, *tables[-1])]
    picture = draw_explanation(clip, names, masks, pixel, attention, gates)
    with atomic_write(Path(output).expanduser()) as temporary:
        temporary.write_bytes(picture)


def look_inside(
    model: COSNet, variables: dict[str, Any], clip: np.ndarray, size: tuple[int, int], pixel: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """What the co-attention does for a pixel, and the gates do for its frame.

    Args:
      model: the network.
      variables: its parameters and statistics.
      clip: (1 + N, H, W, 3) uint8 RGB: the frame, then its references.
      size: (height, width) of the network's input.
      pixel: (y, x) in the frame.

    Returns:
      The attention (N, h', w'), which sums to 1 over each reference (a column of S_c, Eq. 6), and the gates (N, h, w)
      of the frame's summaries over each reference (Eq. 8).
    """

    @jax.jit
    def encode(frame):
        return model.apply(variables, resize_antialiased(frame[None], size), method="encode")

    features = jnp.concatenate([encode(frame) for frame in clip])
    count, height, width = len(clip) - 1, *features.shape[1:3]
    queries = model.apply(variables, features[:1], method=lambda network, x: network.affinity.query(flatten(x)))
    keys = model.apply(variables, features[1:], method="keys")
    row, column = pixel[0] * height // clip.shape[1], pixel[1] * width // clip.shape[2]
    query = queries[0, row * width + column]
    affinity = jnp.einsum("njd,d->nj", keys, query, preferred_element_type=jnp.float32)
    shape = [-(-length // model.reference_pooling) for length in (height, width)]
    attention = jax.nn.softmax(affinity, axis=1).reshape(count, *shape)
    values = model.apply(variables, features[1:], method="values")
    _, sown = model.apply(variables, features[:1], keys[None], values[None], method="attend", mutable=["intermediates"])
    gates = jnp.concatenate(sown["intermediates"]["gate"]["gate"])[..., 0]
    return np.asarray(attention, np.float32), np.asarray(gates, np.float32)
