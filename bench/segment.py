"""Times the inference engine against the released test loop, run by the PyTorch twin with the same weights.

    python bench/segment.py [--weights=RELEASED.pth] [--size H W] [--frames T] [--dtype bfloat16]

The released loop takes each frame through the network once for each reference, as a pair, and averages the predictions.
Its frames are resized and scaled beforehand, so the network alone is timed; the engine is timed from frames to maps.
Both run on the GPU if torch and jax have one, else on the CPU. The floor is one pass of our encoder a frame.
"""

from __future__ import annotations

import argparse
import os
import time

import cv2
import jax
import numpy as np
import torch

from cosnet_jax.inference.segmenter import Segmenter, Setting
from cosnet_jax.interop.compare import to_twin
from cosnet_jax.interop.convert import convert_state_dict
from cosnet_jax.interop.pth import read_state_dict
from cosnet_jax.interop.twin import PairModel, load_twin, to_numpy
from cosnet_jax.training.state import make_model


def random_weights() -> dict[str, np.ndarray]:
    """Weights of the released model by which nothing vanishes or saturates on the way."""
    torch.manual_seed(0)
    model = PairModel()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        elif name.endswith("bn3"):
            torch.nn.init.constant_(module.weight, 0.2)
        elif name.endswith("layer5.bn"):
            torch.nn.init.constant_(module.weight, 0.02)
    return to_numpy(model.state_dict())


def make_video(size: tuple[int, int], count: int) -> np.ndarray:
    """Smooth random frames (count, *size, 3) uint8 that move to the left."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 8 + count, 3), dtype=np.uint8)
    return np.stack([cv2.resize(noise[:, number : number + 8], size[::-1]) for number in range(count)])


def seconds(function, count: int) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="of the released model; without, random ones")
    parser.add_argument("--size", nargs=2, type=int, default=(473, 473), metavar=("H", "W"))
    parser.add_argument("--frames", type=int, default=12, help="that the engine segments")
    parser.add_argument("--baseline-frames", type=int, default=2, help="that the released loop segments")
    parser.add_argument("--num-references", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of our computation")
    options = parser.parse_args()
    size = tuple(options.size)

    weights = read_state_dict(options.weights) if options.weights else random_weights()
    variables, config, _ = convert_state_dict(weights, "released", options.weights or "random weights")
    config.model.dtype = options.dtype
    model = make_model(config.model)
    setting = Setting(options.num_references, fusion="prediction")
    segmenter = Segmenter(model, variables, size, setting)
    video = make_video(size, options.frames)
    references = segmenter.references(len(video), setting)

    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    twin = load_twin(weights).to(device)
    images = torch.from_numpy(to_twin(video))[:, None].to(device)

    @torch.inference_mode()
    def loop(count: int) -> np.ndarray:
        maps = [
            torch.stack([twin(images[query], images[index])[0] for index in row]).mean(dim=0)[0, 0]
            for query, row in enumerate(references[:count])
        ]
        return torch.stack(maps).cpu().numpy()

    encode = jax.jit(lambda variables, frame: model.apply(variables, frame, method="encode"))
    encode(variables, video[:1]).block_until_ready()
    next(segmenter.stream(video))  # compiled
    loop(1)

    expected: list[np.ndarray] = []
    found: list[np.ndarray] = []
    passes = min(4, len(video))
    floor = seconds(lambda: [encode(variables, frame[None]).block_until_ready() for frame in video[:passes]], passes)
    ours = seconds(lambda: found.extend(segmenter.stream(video)), len(video))
    theirs = seconds(lambda: expected.extend(loop(options.baseline_frames)), options.baseline_frames)
    difference = np.abs(np.stack(found[: len(expected)]) - expected).max()

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {cores} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{size[0]}x{size[1]}, N = {options.num_references}, {options.dtype}, {where}")
    print(f"  released loop (PyTorch, float32): {theirs:8.3f} s a frame, over {options.baseline_frames}")
    print(f"  engine, frames to maps:           {ours:8.3f} s a frame, over {len(video)}")
    print(f"  one pass of our encoder:          {floor:8.3f} s a frame, over {passes}")
    print(f"  {theirs / ours:.1f} times as fast as the loop; {100 * floor / ours:.0f}% of the floor's speed")
    print(f"  largest difference of a probability: {difference:.1e} (of maps that reach from {extent(expected)})")


def extent(maps: list[np.ndarray]) -> str:
    return f"{min(x.min() for x in maps):.3f} to {max(x.max() for x in maps):.3f}"


if __name__ == "__main__":
    main()
