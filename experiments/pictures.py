"""The pictures of the model card: a middle frame of the best and the worst sequences of an evaluation.

    python -m experiments.pictures OUT/lite_val OUT/pictures

Writes NAME.jpg for the two sequences of the highest J and the three of the lowest: the prediction left, the ground
truth right.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from cosnet_jax.config import accept_config
from cosnet_jax.data.sequences import Sequence, open_sequences
from cosnet_jax.errors import InputError, report_input_errors
from cosnet_jax.evaluation.predictions import read_masks
from cosnet_jax.files import report_read_errors, writable_folder, write_bytes
from cosnet_jax.visualization.overlays import prediction_beside_truth

WIDTH = 960  # pixels of a picture
BEST, WORST = 2, 3  # sequences


def extremes(results: dict) -> list[str]:
    """Returns the names of the best sequences of `results.json`, then of the worst ones."""
    ranked = sorted(results["per_sequence"], key=lambda name: -results["per_sequence"][name]["J"])
    return [*ranked[:BEST], *ranked[BEST:][-WORST:]]


def picture(sequence: Sequence, masks: Path) -> np.ndarray:
    """Shows the middle frame of a sequence, (h, `WIDTH`, 3) uint8 RGB; `masks`: the folder of scored masks."""
    middle = len(sequence) // 2
    (prediction,) = read_masks([masks / sequence.name / f"{sequence.frame_names[middle]}.png"])
    frame, truth = sequence.frame_and_mask(middle)
    beside = prediction_beside_truth(frame, prediction, truth)
    height = round(WIDTH * beside.shape[0] / beside.shape[1])
    return cv2.resize(beside, (WIDTH, height), interpolation=cv2.INTER_AREA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", type=Path, help="working directory of evaluate.py")
    parser.add_argument("output", type=Path, help="folder for the pictures")
    arguments = parser.parse_args()
    with report_input_errors():
        output, stored = writable_folder(arguments.output), arguments.evaluation / "results.json"
        with report_read_errors(stored):
            text = stored.read_bytes()
        try:
            results = json.loads(text)
            names, data = extremes(results), accept_config(results["config"]).data
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{stored} is not what evaluate.py writes ({error!r})") from None
        sequences = {each.name: each for each in open_sequences(results["dataset"], results["split"], data)}
        for name in names:
            shown = picture(sequences[name], arguments.evaluation / "masks")
            encoded = cv2.imencode(".jpg", shown[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
            write_bytes(output / f"{name}.jpg", encoded.tobytes())


if __name__ == "__main__":
    main()
