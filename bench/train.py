"""Measures a training step against that of the PyTorch twin: the released model, its losses and SGD on the same batch.

    python bench/train.py [--backbone=resnet101] [--size 193 193] [--batch-size=4] [--dtype=bfloat16] [--rounds=5]
        [--skip-compiled] [--matrix-side=N] [--json=FILE] [--config.KEY=VALUE ...]

All start from the same weights and take steps on the same pairs of frames, one each in a round; medians count. The twin
runs as it is (eager) and compiled by torch.compile, on the GPU if torch and jax have one. Its images are scaled
beforehand, ours in the step. "fed" is our step with pairs of synthetic videos that are made while it runs, as in
train.py; it may have to wait for them. The utilisation is the speed in model FLOP, relative to the fastest product of
two square matrices in either library. Model FLOP are those of all convolutions and products, forward and backward, as
torch counts them, products with the zeros around an image included, which our step avoids in part on CPUs. Seconds of
the CPU are those of all threads: other work on the machine disturbs them less.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch needs memory of the same GPU

import grain
import jax
import jax.numpy as jnp
import numpy as np
import torch
from ml_collections import ConfigDict
from report import Seconds, machine, timed, write_json
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from cosnet_jax import parallel
from cosnet_jax.config import read_config
from cosnet_jax.data.pipeline import make_batches
from cosnet_jax.interop.names import FORMATS, from_torch
from cosnet_jax.interop.parity import to_twin
from cosnet_jax.interop.twin import PairModel, to_numpy
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.models.parameters import parameter_name
from cosnet_jax.models.resnet import DEPTHS
from cosnet_jax.threads import usable_cores
from cosnet_jax.training.optimizer import make_optimizer
from cosnet_jax.training.state import init_state
from cosnet_jax.training.steps import make_steps

Batch = dict[str, np.ndarray]


def make_config(arguments: argparse.Namespace, overrides: list[str]) -> ConfigDict:
    """The released recipe with a constant learning rate and one update a step, on synthetic videos."""
    config = read_config("configs/davis16_released.py", overrides)
    config.size, config.batch_size = tuple(arguments.size), arguments.batch_size
    config.model.backbone, config.model.dtype = arguments.backbone, arguments.dtype
    config.optimizer.update({"power": 0.0, "repeat_updates": False})
    config.data.train_videos = "synthetic"
    config.data.synthetic.size = config.size
    return config


class Ours:
    """Our training, as train.py runs it."""

    def __init__(self, config: ConfigDict, weights: dict[str, np.ndarray]):
        model = build_model(config.model, parallel.AXIS)
        shapes = jax.eval_shape(lambda: init_variables(model, 0))
        arrays = from_torch(weights, shapes, FORMATS["released"], "the twin")
        variables = jax.tree_util.tree_map_with_path(lambda path, _: arrays[parameter_name(path)], shapes)
        optimizer = make_optimizer(config.optimizer, variables["params"], config.total_steps)
        self.state = parallel.replicate(init_state(variables, optimizer))
        self._step = parallel.parallelise(make_steps(model, optimizer, config)["video"])

    def begin(self, batch: dict[str, jax.Array]) -> jax.Array:
        """Hands a step to the device; returns its loss, which may not be computed yet."""
        self.state, metrics = self._step(self.state, batch)
        return metrics["loss"]

    def fed(self, batches: grain.DatasetIterator, rounds: int) -> tuple[Seconds, float]:
        """Takes steps on new batches, one always under way; returns the seconds of a step and the waiting share."""

        def train() -> float:
            waited, running = 0.0, None
            for _ in range(rounds):
                taken, batch = timed(lambda: parallel.shard(next(batches)))
                waited, previous, running = waited + taken.clock, running, self.begin(batch)
                jax.block_until_ready(previous)
            jax.block_until_ready(running)
            return waited

        seconds, waited = timed(train)
        return seconds.each(rounds), waited / seconds.clock


class Twin:
    """The same training in plain PyTorch."""

    def __init__(self, config: ConfigDict, batch: Batch, device: str, compiled: bool):
        model = initial_twin(config).to(device).train()
        settings, (_, (*_, encoder_factor), (*_, other_factor)) = config.optimizer, config.optimizer.groups
        encoder = [p for p in model.encoder.parameters() if p.requires_grad]
        others = [p for name, p in model.named_parameters() if not name.startswith("encoder.")]
        rates = settings.learning_rate * encoder_factor, settings.learning_rate * other_factor
        groups = [{"params": group, "lr": rate} for group, rate in zip((encoder, others), rates, strict=True)]
        self._optimizer = torch.optim.SGD(groups, momentum=settings.momentum, weight_decay=settings.weight_decay)
        self._inputs = [tensor.to(device) for tensor in to_tensors(batch)]
        low_precision = config.model.dtype == "bfloat16"

        def loss(a, b, masks_a, masks_b):
            with torch.autocast(device, torch.bfloat16, enabled=low_precision):
                y_a, y_b, _ = model(a, b)
            return supervised_loss(y_a, masks_a) + supervised_loss(y_b, masks_b)

        self._loss = torch.compile(loss) if compiled else loss

    def step(self) -> float:
        """Takes a step; returns its loss."""
        self._optimizer.zero_grad()
        loss = self._loss(*self._inputs)
        loss.backward()
        self._optimizer.step()
        value = float(loss.detach())
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return value


def initial_twin(config: ConfigDict) -> PairModel:
    """The twin with the random weights that all trainings start from."""
    torch.manual_seed(0)
    return PairModel(DEPTHS[config.model.backbone])


def to_tensors(batch: Batch) -> list[torch.Tensor]:
    """The frames a and b of a batch as (n, 3, h, w), then their masks as (n, 1, h, w), float32."""
    frames, masks = to_twin(batch["image"]), batch["mask"][:, :, None].astype(np.float32)
    return [torch.from_numpy(array[:, number].copy()) for array in (frames, masks) for number in (0, 1)]


def supervised_loss(prediction: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The release's loss, see `released_loss`."""
    weight = mask.numel() / mask.sum()
    return weight * F.binary_cross_entropy(prediction.float(), mask) + 0.8 * F.l1_loss(prediction.float(), mask)


def model_flop(config: ConfigDict, batch: Batch) -> int:
    """Counts the floating-point operations of a step's convolutions and products, without computing any."""
    with torch.device("meta"):
        model = PairModel(DEPTHS[config.model.backbone]).train()
    a, b, *_ = (tensor.to("meta") for tensor in to_tensors(batch))
    with FlopCounterMode(display=False) as counter:
        y_a, y_b, _ = model(a, b)
        (y_a.sum() + y_b.sum()).backward()
    return counter.get_total_flops()


def matrix_peak(dtype: str, device: str, side: int) -> float:
    """The FLOP a second of the fastest product of two square matrices of a side, in jax or torch."""
    ours, theirs = jnp.ones((side, side), dtype), torch.ones((side, side), dtype=getattr(torch, dtype), device=device)
    product = jax.jit(lambda a, b: jnp.einsum("ij,jk->ik", a, b))

    def their_product() -> None:
        torch.einsum("ij,jk->ik", theirs, theirs)
        if device == "cuda":
            torch.cuda.synchronize()

    runs = [lambda: product(ours, ours).block_until_ready(), their_product]
    return 2 * side**3 / min(timed(run)[0].clock for _ in range(8) for run in runs)


def measure(config: ConfigDict, device: str, rounds: int, with_compiled: bool, matrix_side: int) -> dict[str, Any]:
    """Measures all forms of the step.

    Returns:
      "rows" by name; "flop" of a step; "peak" of matrix products in FLOP a second; the largest relative "difference" of
      a loss.
    """
    batches = make_batches("video", config.data, config.size, config.batch_size, config.seed)
    batch = next(batches)
    peak, flop = matrix_peak(config.model.dtype, device, matrix_side), model_flop(config, batch)
    ours, placed = Ours(config, to_numpy(initial_twin(config).state_dict())), parallel.shard(batch)
    steps = {"cosnet_jax": lambda: float(ours.begin(placed)), "PyTorch, eager": Twin(config, batch, device, False).step}
    if with_compiled:
        steps["PyTorch, compiled"] = Twin(config, batch, device, True).step
    times: dict[str, list[Seconds]] = {name: [] for name in steps}
    losses: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            seconds, loss = timed(step)
            losses[name].append(loss)
            if number:  # the first one compiles
                times[name].append(seconds)
    with contextlib.closing(batches):
        seconds, waiting = ours.fed(batches, rounds)
    medians = {name: Seconds(*map(statistics.median, zip(*values, strict=True))) for name, values in times.items()}
    expected = losses.pop("cosnet_jax")
    return {
        "rows": {
            name: {
                "seconds": taken.clock,
                "cpu_seconds": taken.cpu,
                "images_per_second": 2 * config.batch_size / taken.clock,
                "utilisation": flop / taken.clock / peak,
                "by_ours": taken.clock / medians["cosnet_jax"].clock,
                "cpu_by_ours": taken.cpu / medians["cosnet_jax"].cpu,
            }
            | ({"waiting": waiting} if name == "fed" else {})
            for name, taken in {**medians, "fed": seconds}.items()
        },
        "flop": flop,
        "peak": peak,
        "difference": max(float(np.max(np.abs(np.divide(other, expected) - 1))) for other in losses.values()),
    }


def main() -> None:
    """Prints one table and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=DEPTHS, default="resnet50")
    parser.add_argument("--size", nargs=2, type=int, default=(193, 193), metavar=("H", "W"))
    parser.add_argument("--batch-size", type=int, default=4, help="pairs of frames")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the computation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--skip-compiled", action="store_true", help="without torch.compile, which needs a C++ compiler"
    )
    parser.add_argument(
        "--matrix-side", type=int, help="of the product that gives the peak (2048 on CPUs, 8192 on GPUs)"
    )
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments, overrides = parser.parse_known_args()
    if jax.device_count() > 1:
        sys.exit(f"this compares one device with one, and there are {jax.device_count()}; set CUDA_VISIBLE_DEVICES=0")
    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    torch.set_num_threads(usable_cores())
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs, as jax does by default
    side = arguments.matrix_side or (2048 if device == "cpu" else 8192)
    config = make_config(arguments, overrides)
    results = measure(config, device, arguments.rounds, not arguments.skip_compiled, side)

    size = "x".join(map(str, arguments.size))
    print(f"{arguments.backbone}, {size}, {arguments.batch_size} pairs, {arguments.dtype}; {machine()}")
    print(f"a step: {results['flop'] / 1e12:.3f} TFLOP; matrix products: {results['peak'] / 1e12:.3f} TFLOP a second")
    print(" " * 20 + "  s a step  by ours  s of CPU  by ours  images/s  utilisation  waiting")
    for name, row in results["rows"].items():
        waiting = f"{row['waiting']:9.1%}" if "waiting" in row else ""
        print(
            f"{name:20}{row['seconds']:10.3f}{row['by_ours']:8.2f}x{row['cpu_seconds']:10.2f}{row['cpu_by_ours']:8.2f}x"
            f"{row['images_per_second']:10.2f}{row['utilisation']:13.1%}{waiting}"
        )
    print(f"largest relative difference of a loss: {results['difference']:.1e}")
    if arguments.json:
        settings = {name: value for name, value in vars(arguments).items() if name != "json"}
        write_json(arguments.json, {**settings, "overrides": overrides, "torch": torch.__version__}, results)


if __name__ == "__main__":
    main()
