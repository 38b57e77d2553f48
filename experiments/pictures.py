"""The pictures of the model card and of README.

    python -m experiments.pictures EVALUATION OUT
    python -m experiments.pictures --strip FRAMES CUTOUTS OUT/strip.webp

The first writes a picture of the middle frame of the two best and three worst sequences of an evaluation:
the prediction left, the ground truth right. The second shows the frames of a folder beside what
`cosnet segment FRAMES --cutout png` made of them, as a moving picture.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from cosnet_jax.data.sequence import Sequence
from cosnet_jax.data.sequences import open_sequences
from cosnet_jax.errors import InputError, report_input_errors
from cosnet_jax.files import writable_folder
from cosnet_jax.video.masks import read_mask
from cosnet_jax.visualization.overlays import prediction_beside_truth

WIDTH = 960  # pixels of a picture
BEST, WORST = 2, 3  # sequences
HEIGHT, FPS, SQUARE = 200, 12, 10  # of a strip; pixels of a square of the pattern behind a cut-out


def extremes(results: dict) -> list[str]:
    """Returns the names of the best sequences of `results.json`, then of the worst ones."""
    ranked = sorted(results["per_sequence"], key=lambda name: -results["per_sequence"][name]["J"])
    return [*ranked[:BEST], *ranked[BEST:][-WORST:]]


def picture(sequence: Sequence, masks: Path) -> np.ndarray:
    """Shows the middle frame of a sequence, (h, `WIDTH`, 3) uint8 RGB; `masks`: the folder of scored masks."""
    middle = len(sequence) // 2
    prediction = read_mask(masks / sequence.name / f"{sequence.frame_names[middle]}.png")
    frame, truth = sequence.frame_and_mask(middle)
    beside = prediction_beside_truth(frame, prediction, truth)
    height = round(WIDTH * beside.shape[0] / beside.shape[1])
    return cv2.resize(beside, (WIDTH, height), interpolation=cv2.INTER_AREA)


def strip(frame: Image.Image, cutout: Image.Image) -> Image.Image:
    """Puts a frame and its cut-out over a chequered pattern side by side."""
    width = round(HEIGHT * frame.width / frame.height)
    rows, columns = np.indices((HEIGHT, width)) // SQUARE
    behind = Image.fromarray(np.where((rows + columns) % 2, 225, 250).astype(np.uint8)).convert("RGBA")
    behind.alpha_composite(cutout.convert("RGBA").resize((width, HEIGHT), Image.Resampling.LANCZOS))
    both = Image.new("RGB", (2 * width, HEIGHT))
    both.paste(frame.resize((width, HEIGHT), Image.Resampling.LANCZOS), (0, 0))
    both.paste(behind.convert("RGB"), (width, 0))
    return both


def write_strip(frames: Path, cutouts: Path, output: Path) -> None:
    """Writes the moving picture of a folder of frames and one of cut-outs of the same names."""
    found = {path.stem: path for path in frames.iterdir()} if frames.is_dir() else {}
    paths = sorted(cutouts.glob("*.png"))
    if not paths or not {path.stem for path in paths} <= found.keys():
        raise InputError(f"{cutouts} holds {len(paths)} cut-outs; expected *.png, each with a frame in {frames}")
    first, *others = [strip(Image.open(found[path.stem]), Image.open(path)) for path in paths]
    first.save(output, save_all=True, append_images=others, duration=round(1000 / FPS), loop=0, quality=60, method=6)


def write_pictures(evaluation: Path, output: Path) -> None:
    """Writes a picture of the best and of the worst sequences."""
    stored = evaluation / "results.json"
    if not stored.is_file():
        raise InputError(f"{stored} does not exist; expected the working directory of an evaluation")
    results = json.loads(stored.read_bytes())
    opened = open_sequences(results["dataset"], results["split"], ConfigDict(results["config"]).data)
    sequences = {sequence.name: sequence for sequence in opened}
    for name in extremes(results):
        shown = picture(sequences[name], evaluation / "masks")
        cv2.imwrite(str(output / f"{name}.jpg"), shown[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strip", action="store_true", help="a moving picture of frames and cut-outs")
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    if len(arguments.inputs) != 1 + arguments.strip:
        parser.error("expected EVALUATION OUT, or --strip FRAMES CUTOUTS OUT.webp")
    with report_input_errors():
        if arguments.strip:
            writable_folder(arguments.output.parent)
            write_strip(*arguments.inputs, arguments.output)
        else:
            write_pictures(*arguments.inputs, writable_folder(arguments.output))


if __name__ == "__main__":
    main()
