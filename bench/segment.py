"""Times the inference engine against the released test loop, run by the PyTorch twin with the same weights.

    python bench/segment.py [--weights=RELEASED.pth] [--size H W] [--frames T] [--dtype bfloat16] [--batch-size B]

The released loop takes each frame through the network once for each reference, as a pair, and averages the predictions.
Its frames are resized and scaled beforehand, so the network alone is timed; the engine is timed from frames to maps.
Both run on the GPU if torch and jax have one, else on the CPU. The floor is one pass of our encoder a frame, in the
engine's batches. Seconds of the CPU (of all threads) are given too: other work on the machine disturbs them less.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import jax
import numpy as np
import torch
from report import Seconds, machine, timed

from cosnet_jax.inference.network import Encoded, Network, get_network
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.interop.convert import convert_state_dict
from cosnet_jax.interop.parity import to_twin
from cosnet_jax.interop.pth import read_state_dict
from cosnet_jax.interop.twin import PairModel, load_twin, to_numpy
from cosnet_jax.models.build import build_model


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


class ReleasedLoop:
    """The released test loop, run by the PyTorch twin."""

    def __init__(self, weights: dict[str, np.ndarray], video: np.ndarray, references: np.ndarray, device: str):
        self._twin = load_twin(weights).to(device)
        self._images = torch.from_numpy(to_twin(video))[:, None].to(device)
        self._references = references

    @torch.inference_mode()
    def segment(self, count: int) -> np.ndarray:
        """The maps of the first frames."""
        maps = [
            torch.stack([self._twin(self._images[query], self._images[index])[0] for index in row]).mean(dim=0)[0, 0]
            for query, row in enumerate(self._references[:count])
        ]
        return torch.stack(maps).cpu().numpy()


class Stages:
    """The engine's two stages alone, each on one batch as the engine makes them."""

    def __init__(self, network: Network, variables: dict[str, Any], video: np.ndarray, options: InferenceConfig):
        self._network, self._variables, self._options = network, network.replicate(variables), options
        self.batch_size, width = network.batch_size, options.num_references
        self._batch = list(np.resize(video, (self.batch_size, *video.shape[1:])))
        self._references = np.tile(np.arange(width), (self.batch_size, 1))
        self._encoded: dict[int, Encoded] = {}
        while len(self._encoded) < max(self.batch_size, width):
            self._encoded.update(enumerate(network.encode(self._variables, self._batch), len(self._encoded)))

    def encode(self) -> None:
        jax.block_until_ready(list(self._network.encode(self._variables, self._batch)))

    def segment(self) -> None:
        """Co-attention and heads."""
        options, batch = self._options, range(self.batch_size)
        self._network.predict(
            self._variables, self._encoded, batch, self._references, options.fusion, options.num_references
        ).block_until_ready()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="of the released model; without, random ones")
    parser.add_argument("--size", nargs=2, type=int, default=(473, 473), metavar=("H", "W"))
    parser.add_argument("--frames", type=int, default=12, help="that the engine segments")
    parser.add_argument("--baseline-frames", type=int, default=2, help="that the released loop segments")
    parser.add_argument("--num-references", type=int, default=5)
    parser.add_argument("--batch-size", type=int, help="frames that the engine takes at a time (what suits the device)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of our computation")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    size = tuple(arguments.size)
    weights = read_state_dict(arguments.weights) if arguments.weights else random_weights()
    variables, config, _ = convert_state_dict(weights, "released", arguments.weights or "random weights")
    config.model.dtype = arguments.dtype
    model = build_model(config.model)
    options = InferenceConfig(arguments.num_references, fusion="prediction", size=size, edge_radius=0)
    segmenter = Segmenter(model, variables, options, batch_size=arguments.batch_size)
    video = make_video(size, arguments.frames)

    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    loop = ReleasedLoop(weights, video, segmenter.references(len(video)), device)
    stages = Stages(
        get_network(model, size, arguments.batch_size, segmenter.matmul_precision), variables, video, options
    )
    stages.encode()
    stages.segment()
    next(segmenter.stream(video))  # compiled
    loop.segment(1)

    floor, segmenting = (timed(stage)[0].each(stages.batch_size) for stage in (stages.encode, stages.segment))
    found, ours = time_maps(lambda: list(segmenter.stream(video)))
    expected, theirs = time_maps(lambda: loop.segment(arguments.baseline_frames))
    difference = np.abs(np.stack(found[: len(expected)]) - expected).max()

    print(f"{size[0]}x{size[1]}, N = {arguments.num_references}, {arguments.dtype}, {machine()}")
    print(f"  released loop (PyTorch, float32): {in_words(theirs)}, over {len(expected)}")
    print(f"  engine, frames to maps:           {in_words(ours)}, over {len(found)}, in batches of {stages.batch_size}")
    print(f"    its encoder, which is the floor: {in_words(floor)}")
    print(f"    its co-attention and heads:     {in_words(segmenting)}")
    for name, own, other, least in zip(Seconds._fields, ours, theirs, floor, strict=True):
        print(f"  by the {name}: {other / own:.1f} times the loop's speed, {100 * least / own:.0f}% of the floor's")
    print(f"  largest difference of a probability: {difference:.1e} (of maps that reach from {extent(expected)})")


def time_maps(segment: Callable[[], Sequence[np.ndarray]]) -> tuple[Sequence[np.ndarray], Seconds]:
    """Returns maps and the seconds of each."""
    seconds, maps = timed(segment)
    return maps, seconds.each(len(maps))


def in_words(seconds: Seconds) -> str:
    return f"{seconds.clock:8.3f} s a frame ({seconds.cpu:.3f} s of the CPU)"


def extent(maps: Sequence[np.ndarray]) -> str:
    return f"{min(x.min() for x in maps):.3f} to {max(x.max() for x in maps):.3f}"


if __name__ == "__main__":
    main()
