"""The pictures of the model card: a middle frame of the best and the worst sequences of an evaluation on DAVIS-2016.

    python -m experiments.pictures OUT/lite_val DAVIS OUT/pictures

Writes NAME.jpg for the two sequences of the highest J and the three of the lowest: the prediction left, the ground
truth right.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from cosnet_jax.errors import InputError, report_input_errors
from cosnet_jax.files import report_read_errors, writable_folder, write_bytes
from cosnet_jax.video.images import decode_image, decode_mask
from cosnet_jax.visualization.overlays import prediction_beside_truth

WIDTH = 960  # pixels of a picture
BEST, WORST = 2, 3  # sequences


def extremes(results: dict) -> list[str]:
    """Returns the names of the best sequences of `results.json`, then of the worst ones."""
    ranked = sorted(results["per_sequence"], key=lambda name: -results["per_sequence"][name]["J"])
    return [*ranked[:BEST], *ranked[BEST:][-WORST:]]


def picture(evaluation: Path, davis: Path, name: str) -> np.ndarray:
    """Shows the middle frame of a sequence.

    Args:
      evaluation: working directory of the evaluation.
      davis: the raw dataset.
      name: the sequence.

    Returns:
      (h, `WIDTH`, 3) uint8 RGB.

    Raises:
      InputError: a file is missing or no image.
    """
    frames = sorted((davis / "JPEGImages" / "480p" / name).glob("*.jpg"))
    if not frames:
        raise InputError(f"{davis} has no frames of {name!r}; expected JPEGImages/480p/{name}/*.jpg")
    frame = frames[len(frames) // 2]
    masks = [folder / name / f"{frame.stem}.png" for folder in (evaluation / "masks", davis / "Annotations" / "480p")]
    with report_read_errors(evaluation):
        image, *both = decode_image(frame.read_bytes()), *(decode_mask(mask.read_bytes(), 127) for mask in masks)
    for path, content in zip((frame, *masks), (image, *both), strict=True):
        if content is None:
            raise InputError(f"{path} is not a readable image")
    beside = prediction_beside_truth(image, *both)
    height = round(WIDTH * beside.shape[0] / beside.shape[1])
    return cv2.resize(beside, (WIDTH, height), interpolation=cv2.INTER_AREA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", type=Path, help="working directory of evaluate.py")
    parser.add_argument("davis", type=Path, metavar="DAVIS", help="the raw dataset")
    parser.add_argument("output", type=Path, help="folder for the pictures")
    arguments = parser.parse_args()
    with report_input_errors():
        output = writable_folder(arguments.output)
        with report_read_errors(arguments.evaluation):
            results = json.loads((arguments.evaluation / "results.json").read_bytes())
        for name in extremes(results):
            shown = picture(arguments.evaluation, arguments.davis, name)
            data = cv2.imencode(".jpg", shown[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
            write_bytes(output / f"{name}.jpg", data)


if __name__ == "__main__":
    main()
