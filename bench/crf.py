"""Times the CRF in JAX against pydensecrf on real frames, compares their results, and both with exact filtering.

    python bench/crf.py [--davis=DIR] [--frames=100] [--workers=2] [--maps=DIR] [--json=crf.json]

DIR is DAVIS-2016 in its own layout (default: $COSNET_DATA/DAVIS). The frames are spread evenly over the validation
sequences that are there; the maps are those of the shipped model, kept in --maps for another run. The two
implementations take turns, a part of the frames at a time. Seconds of the CPU count all threads and processes; other
work on the machine disturbs them less than the clock. "Exact" is mean field with every pair of pixels written out, on
frames resized to 40x60.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import jax
import numpy as np
from report import machine, timed, write_json

from cosnet_jax.evaluation.boundary import boundary_f
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.inference import crf, dense_crf
from cosnet_jax.inference.crf import CRFConfig
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.progress import track
from cosnet_jax.report.tables import Table

T = TypeVar("T")
PARAMS = {name: CRFConfig(backend=name) for name in crf.BACKENDS}
EXACT_SIZE = (40, 60)
TURN = 25  # frames


class Example(NamedTuple):
    """A frame uint8 (H, W, 3), its probability map float32 (H, W), and the ground truth bool (H, W)."""

    frame: np.ndarray
    probability: np.ndarray
    truth: np.ndarray


def read_examples(davis: Path, count: int, maps: Path | None) -> list[Example]:
    """Reads frames of the validation sequences, evenly spaced, and segments them with the shipped model."""
    names = {line.split("/")[3] for line in (davis / "ImageSets/480p/val.txt").read_text().splitlines() if line}
    folders = [folder for folder in sorted((davis / "JPEGImages/480p").iterdir()) if folder.name in names]
    segmenter = Segmenter.from_pretrained()
    examples = []
    for number, folder in enumerate(track(folders, "segmenting")):
        files = sorted(folder.glob("*.jpg"))
        share = count * (number + 1) // len(folders) - count * number // len(folders)
        chosen = np.linspace(1, len(files) - 2, share).round().astype(int).tolist()
        kept = maps / f"{folder.name}-{share}.npy" if maps else None
        frames = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]
        if kept and kept.is_file():
            probabilities = np.load(kept)
        else:
            probabilities = np.stack(list(segmenter.stream(frames)))[chosen]
            if kept:
                np.save(kept, probabilities)
        for index, probability in zip(chosen, probabilities, strict=True):
            mask = cv2.imread(str(davis / "Annotations/480p" / folder.name / f"{files[index].stem}.png"))
            examples.append(Example(frames[index], probability, (mask > 0).any(axis=-1)))
    return examples


def refine_all(examples: list[Example], params: CRFConfig, workers: int) -> list[np.ndarray]:
    """Refines frames as the inference does."""
    items = ((None, example.frame, example.probability) for example in examples)
    return [refined for _, refined in crf.refine_stream(items, params, workers)]


def take_turns(examples: list[Example], workers: int) -> tuple[dict, dict]:
    """Refines all frames by both; returns the maps and the (clock, CPU) seconds a frame of each."""
    maps: dict[str, list[np.ndarray]] = {name: [] for name in PARAMS}
    seconds = {name: np.zeros(2) for name in PARAMS}
    for start in track(range(0, len(examples), TURN), "timing both"):
        some = examples[start : start + TURN]
        for name, params in PARAMS.items():
            spent, refined = timed(functools.partial(refine_all, some, params, workers))
            maps[name] += refined
            seconds[name] += spent.each(len(examples))
    return maps, seconds


def place(arrays: Any) -> Any:
    """Copies arrays to the device and waits for them."""
    return jax.block_until_ready(jax.device_put(arrays))


def time_parts(examples: list[Example]) -> dict[str, float]:
    """Returns the CPU seconds a frame of the parts of the CRF in JAX, one frame after the other."""
    spent = {"lattice": 0.0, "copy to the device": 0.0, "mean field": 0.0}
    for frame, probability, _ in track(examples, "timing the parts of ours"):
        seconds, lattice = timed(functools.partial(dense_crf.appearance_lattice, frame, 15.0, 7.0))
        spent["lattice"] += seconds.cpu
        seconds, placed = timed(functools.partial(place, lattice))
        spent["copy to the device"] += seconds.cpu
        all_seconds, _ = timed(functools.partial(crf.refine, frame, probability, PARAMS["jax"]))
        spent["mean field"] += all_seconds.cpu
        del placed
    spent["mean field"] -= spent["lattice"] + spent["copy to the device"]
    return {name: seconds / len(examples) for name, seconds in spent.items()}


def exact(frame: np.ndarray, probability: np.ndarray, params: CRFConfig) -> np.ndarray:
    """Runs mean field with every pair of pixels written out, in double precision."""
    height, width = probability.shape
    positions = np.mgrid[:height, :width].reshape(2, -1).T.astype(float)
    colours = frame.reshape(-1, 3).astype(float)
    both = np.concatenate([positions / params.bilateral_sxy, colours / params.bilateral_srgb], axis=1)
    total = np.zeros((height * width,) * 2)
    weighted = ((positions / params.gaussian_sxy, params.gaussian_compat), (both, params.bilateral_compat))
    for features, weight in weighted:
        squares = (features**2).sum(1)
        kernel = np.exp(features @ features.T - 0.5 * (squares[:, None] + squares))
        norm = 1 / np.sqrt(kernel.sum(1))
        total += weight * norm[:, None] * kernel * norm
    unary = np.asarray(dense_crf.log_odds(probability, params.normalise), float).ravel()
    odds = unary
    for _ in range(params.iterations):
        odds = unary + total @ np.tanh(odds / 2)
    return (1 / (1 + np.exp(-odds))).reshape(height, width)


def compare_with_exact(examples: list[Example]) -> dict[str, dict[str, float]]:
    """Returns how far each is from exact mean field: mean difference of the probabilities, share of other labels."""
    errors: dict[str, list[tuple[float, float]]] = {name: [] for name in PARAMS}
    for frame, probability, _ in track(examples, "comparing with exact filtering"):
        frame, probability = (cv2.resize(x, EXACT_SIZE[::-1], None, 0, 0, cv2.INTER_AREA) for x in (frame, probability))
        truth = exact(frame, probability, PARAMS["jax"])
        for name, params in PARAMS.items():
            found = crf.refine(frame, probability, params)
            errors[name].append((float(abs(found - truth).mean()), float(((found > 0.5) != (truth > 0.5)).mean())))
    return {
        name: dict(zip(("probability", "labels"), np.mean(rows, axis=0).tolist(), strict=True))
        for name, rows in errors.items()
    }


def peak_memory(davis: Path, backend: str, in_flight: int) -> float:
    """Returns the MiB that a fresh process gains while it refines so many frames at a time, compilation included."""
    command = [sys.executable, __file__, f"--davis={davis}", "--measure-memory", backend, str(in_flight)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_memory(davis: Path, backend: str, in_flight: int) -> float:
    """Returns how far the peak memory of this process rises, in MiB, while it refines 12 frames."""
    files = sorted((davis / "JPEGImages/480p").glob("*/*.jpg"))[:12]
    frames = [cv2.imread(str(file)) for file in files]
    items = [(None, frame, frame[..., 0].astype(np.float32) / 255) for frame in frames]
    jax.block_until_ready(jax.numpy.ones(1))
    before = _peak()
    if backend == "jax":
        list(crf.refine_stream(iter(items), PARAMS[backend], in_flight))
    else:  # in this process rather than in workers, so that their memory can be read
        for _, frame, probability in items:
            crf.refine(frame, probability, PARAMS[backend])
    return _peak() - before


def _peak() -> float:
    """Returns the peak memory of this process in MiB; getrusage would give the parent's if that is larger."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def evaluate(maps: list[np.ndarray], examples: list[Example]) -> dict[str, float]:
    """Returns the mean J and F of maps above 0.5."""
    pairs = [(map_ > 0.5, example.truth) for map_, example in zip(maps, examples, strict=True)]
    return {"J": float(np.mean([jaccard(*p) for p in pairs])), "F": float(np.mean([boundary_f(*p) for p in pairs]))}


def run(options: argparse.Namespace) -> dict:
    """Makes all comparisons."""
    if options.maps:
        options.maps.mkdir(parents=True, exist_ok=True)
    examples = read_examples(options.davis, options.frames, options.maps)
    for example in track(examples, "compiling"):  # for the capacities that occur
        crf.refine(example.frame, example.probability, PARAMS["jax"])
    maps, seconds = take_turns(examples, options.workers)
    equal = [((ours > 0.5) == (theirs > 0.5)).mean() for ours, theirs in zip(*maps.values(), strict=True)]
    deviations = compare_with_exact(examples[:: max(1, len(examples) // 20)])
    backends = {
        name: {
            "clock_seconds": float(seconds[name][0]), "cpu_seconds": float(seconds[name][1]),
            "memory_mib": peak_memory(options.davis, name, 1), "from_exact": deviations[name],
            **evaluate(maps[name], examples),
        }
        for name in PARAMS
    }  # fmt: skip
    return {
        "frames": len(examples),
        "size": list(examples[0].probability.shape),
        "workers": options.workers,
        "equal_labels": {"mean": float(np.mean(equal)), "worst": float(np.min(equal))},
        "largest_difference": float(max(abs(a - b).max() for a, b in zip(*maps.values(), strict=True))),
        "without_crf": evaluate([example.probability for example in examples], examples),
        "backends": backends,
        "memory_mib_two_in_flight": peak_memory(options.davis, "jax", 2),
        "cpu_seconds_of_parts": time_parts(examples[:20]),
    }  # fmt: skip


def describe(results: dict) -> str:
    """Lays out the results as a table and a few lines."""
    rows = []
    for name, one in results["backends"].items():
        numbers = (f"{one['clock_seconds']:.3f}", f"{one['cpu_seconds']:.3f}", f"{one['memory_mib']:.0f}")
        quality = (f"{100 * one['J']:.2f}", f"{100 * one['F']:.2f}")
        distance = (f"{one['from_exact']['probability']:.4f}", f"{100 * one['from_exact']['labels']:.2f}")
        rows.append((name, *numbers, *quality, *distance))
    columns = ("backend", "s a frame", "CPU s a frame", "MiB", "J", "F", "from exact: probability", "labels, %")
    ours, theirs = (results["backends"][name] for name in ("jax", "pydensecrf"))
    equal, parts = results["equal_labels"], results["cpu_seconds_of_parts"]
    caption = (
        f"{results['frames']} frames of {results['size'][0]}x{results['size'][1]}, {results['workers']} workers, "
        f"{machine()}."
    )
    return "\n".join([
        Table(columns, rows, caption=caption).to_markdown(),
        f"Equal labels: {100 * equal['mean']:.4f}% in the mean, {100 * equal['worst']:.4f}% in the worst frame; "
        f"largest difference of a probability {results['largest_difference']:.1e}.",
        f"{theirs['cpu_seconds'] / ours['cpu_seconds']:.1f} times the frames per second of the CPU, "
        f"{theirs['clock_seconds'] / ours['clock_seconds']:.1f} times by the clock.",
        "CPU seconds a frame: " + ", ".join(f"{name} {seconds:.3f}" for name, seconds in parts.items()) + ".",
        f"Memory with two frames in flight: {results['memory_mib_two_in_flight']:.0f} MiB.",
        f"Without CRF: J {100 * results['without_crf']['J']:.2f}, F {100 * results['without_crf']['F']:.2f}.",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("COSNET_DATA") or "data") / "DAVIS"
    parser.add_argument("--davis", type=Path, default=default, help="DAVIS-2016 in its own layout")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2, help="threads of ours, processes of pydensecrf")
    parser.add_argument("--maps", type=Path, help="folder that keeps the shipped model's maps")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--measure-memory", nargs=2, metavar=("BACKEND", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not (options.davis / "JPEGImages/480p").is_dir():
        parser.error(f"--davis is {options.davis}, which has no JPEGImages/480p")
    if options.measure_memory:
        backend, count = options.measure_memory
        print(measure_memory(options.davis, backend, int(count)))
        return
    results = run(options)
    print(describe(results))
    if options.json:
        write_json(options.json, {"frames": options.frames, "davis": str(options.davis)}, results)


if __name__ == "__main__":
    main()
