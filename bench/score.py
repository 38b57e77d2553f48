"""Times the scoring of DAVIS-2016 masks against a straightforward implementation in the style of the official toolkit.

    python bench/score.py [--davis=DIR] [--stability]

DIR is DAVIS-2016 in its own layout (default: $COSNET_DATA/DAVIS); all validation sequences that are in it are scored.
The predicted masks are the ground truth with a seeded distortion. The baseline reads the same files and works frame by
frame on whole images, with boolean operations and one binary dilation per boundary. The dilation is scipy's, which the
DAVIS-2016 toolkit uses through scikit-image, or OpenCV's, which later versions use.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import scipy.ndimage

from cosnet_jax.evaluation.boundary import boundary_f
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.evaluation.score import score_masks
from cosnet_jax.evaluation.stability import temporal_instability
from cosnet_jax.threads import usable_cores


@dataclasses.dataclass(frozen=True)
class MaskFolder:
    """The ground truth of a sequence as files; see `cosnet_jax.evaluation.ground_truth.GroundTruth`."""

    folder: Path
    frame_names: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def annotated(self) -> tuple[int, ...]:
        return tuple(range(len(self.frame_names)))

    def mask(self, i: int) -> np.ndarray:
        return read_mask(self.folder / f"{self.frame_names[i]}.png")


def read_mask(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return image > 0 if image.ndim == 2 else image[..., :3].any(axis=-1)


def open_validation(davis: Path) -> list[MaskFolder]:
    lines = (davis / "ImageSets/480p/val.txt").read_text().split()
    frames: dict[Path, list[str]] = {}
    for line in lines[1::2]:
        path = davis / line.lstrip("/")
        frames.setdefault(path.parent, []).append(path.stem)
    return [MaskFolder(folder, tuple(names)) for folder, names in frames.items() if folder.is_dir()]


def write_distorted(sequences: list[MaskFolder], out: Path) -> None:
    """Writes blurred ground truth with smooth noise, thresholded: masks like those of a network of medium quality."""
    rng = np.random.default_rng(0)
    for sequence in sequences:
        (out / sequence.name).mkdir(parents=True)
        for i, frame in enumerate(sequence.frame_names):
            truth = sequence.mask(i).astype(np.float32)
            noise = cv2.resize(rng.normal(size=(12, 20)).astype(np.float32), truth.shape[::-1])
            mask = cv2.GaussianBlur(truth, (0, 0), 6) + 0.15 * noise > 0.5
            cv2.imwrite(str(out / sequence.name / f"{frame}.png"), mask.astype(np.uint8) * 255)


def plain_jaccard(prediction: np.ndarray, truth: np.ndarray) -> float:
    if not prediction.any() and not truth.any():
        return 1.0
    intersection = np.sum(np.logical_and(prediction, truth))
    return intersection / np.sum(np.logical_or(prediction, truth))


def plain_boundary(mask: np.ndarray) -> np.ndarray:
    east, south, diagonal = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    east[:, :-1] = mask[:, 1:]
    south[:-1, :] = mask[1:, :]
    diagonal[:-1, :-1] = mask[1:, 1:]
    boundary = np.logical_or(np.logical_or(mask ^ east, mask ^ south), mask ^ diagonal)
    boundary[-1, :] = mask[-1, :] ^ east[-1, :]
    boundary[:, -1] = mask[:, -1] ^ south[:, -1]
    boundary[-1, -1] = False
    return boundary


def plain_f(prediction: np.ndarray, truth: np.ndarray, dilate) -> float:
    radius = int(np.ceil(0.008 * np.linalg.norm(truth.shape)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = x**2 + y**2 <= radius**2
    found, wanted = plain_boundary(prediction), plain_boundary(truth)
    matched_found = np.logical_and(found, dilate(wanted, disk))
    matched_wanted = np.logical_and(wanted, dilate(found, disk))
    num_found, num_wanted = np.sum(found), np.sum(wanted)
    if num_found == 0 and num_wanted == 0:
        return 1.0
    if num_found == 0 or num_wanted == 0:
        return 0.0
    precision, recall = np.sum(matched_found) / num_found, np.sum(matched_wanted) / num_wanted
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def scipy_dilate(boundary: np.ndarray, disk: np.ndarray) -> np.ndarray:
    return scipy.ndimage.binary_dilation(boundary, disk)


def opencv_dilate(boundary: np.ndarray, disk: np.ndarray) -> np.ndarray:
    return cv2.dilate(boundary.astype(np.uint8), disk.astype(np.uint8)).astype(bool)


def plain_scores(sequences: list[MaskFolder], predictions: Path, dilate) -> dict[str, dict[str, list[float]]]:
    scores: dict[str, dict[str, list[float]]] = {}
    for sequence in sequences:
        values: dict[str, list[float]] = {"J": [], "F": []}
        for i in range(1, len(sequence.frame_names) - 1):
            prediction = read_mask(predictions / sequence.name / f"{sequence.frame_names[i]}.png")
            truth = sequence.mask(i)
            values["J"].append(float(plain_jaccard(prediction, truth)))
            values["F"].append(float(plain_f(prediction, truth, dilate)))
        scores[sequence.name] = values
    return scores


def timed(function, *arguments, **options):
    start = time.perf_counter()
    result = function(*arguments, **options)
    return time.perf_counter() - start, result


def bench_regions_and_boundaries(sequences: list[MaskFolder]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        predictions = Path(folder)
        write_distorted(sequences, predictions)
        ours = {n: timed(score_masks, sequences, predictions, processes=n) for n in dict.fromkeys((1, usable_cores()))}
        baselines = {
            "scipy": timed(plain_scores, sequences, predictions, scipy_dilate),
            "OpenCV": timed(plain_scores, sequences, predictions, opencv_dilate),
        }
    frames = sum(len(sequence.frame_names) for sequence in sequences)
    print(f"\nJ and F of {len(sequences)} sequences, {frames} frames, reading the PNG files included:")
    for library, (seconds, scores) in baselines.items():
        print(f"  baseline, dilation by {library:6}: {seconds:6.2f} s")
        for processes, (our_seconds, results) in ours.items():
            print(f"    cosnet_jax, {processes} process(es): {our_seconds:6.2f} s, 1/{seconds / our_seconds:.1f} of it")
            print(f"    largest difference of a frame's score: {largest_difference(scores, results['per_frame']):.1e}")


def bench_without_files(sequences: list[MaskFolder]) -> None:
    """Times the measures alone, on masks in memory. Neighbouring frames serve as prediction and ground truth."""
    masks = [[sequence.mask(i) for i in range(len(sequence.frame_names))] for sequence in sequences]
    pairs = [pair for sequence in masks for pair in itertools.pairwise(sequence)]
    ours, _ = timed(list, (jaccard(*pair) + boundary_f(*pair) for pair in pairs))
    print(f"\nThe measures alone, {len(pairs)} pairs of masks in memory, one core:")
    print(f"  cosnet_jax: {ours:6.2f} s")
    for library, dilate in (("scipy", scipy_dilate), ("OpenCV", opencv_dilate)):
        some = pairs[::10]
        seconds, _ = timed(list, (plain_jaccard(*pair) + plain_f(*pair, dilate) for pair in some))
        seconds *= len(pairs) / len(some)
        ratio = f"so that is 1/{seconds / ours:.1f} of it"
        print(f"  baseline, dilation by {library:6}: {seconds:6.2f} s (from every tenth pair), {ratio}")


def largest_difference(scores: dict, per_frame: dict) -> float:
    return max(
        float(np.abs(np.subtract(values[metric], per_frame[name][metric])).max())
        for name, values in scores.items()
        for metric in ("J", "F")
    )


def bench_stability(sequences: list[MaskFolder]) -> None:
    print("\nT of the ground truth, one core:")
    for sequence in sequences:
        masks = [sequence.mask(i) for i in range(len(sequence.frame_names) - 1)]
        seconds, value = timed(temporal_instability, masks[0], masks[1:])
        print(f"  {sequence.name:16} {value:.4f}  {(len(masks) - 1) / seconds:5.1f} pairs a second", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ["COSNET_DATA"]) / "DAVIS" if os.environ.get("COSNET_DATA") else None
    parser.add_argument("--davis", type=Path, default=default, required=default is None)
    parser.add_argument("--stability", action="store_true", help="time T too")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # for the baseline and for cosnet_jax
    sequences = open_validation(options.davis)
    bench_regions_and_boundaries(sequences)
    bench_without_files(sequences)
    if options.stability:
        bench_stability(sequences)


if __name__ == "__main__":
    from score import main as importable_main  # so that worker processes can import MaskFolder as score.MaskFolder

    importable_main()
