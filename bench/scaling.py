"""Measures how a training step scales over 1, 2, 4 and 8 devices of this machine, each with the same batch.

    python bench/scaling.py [--config=configs/davis16.py] [--devices 1 2 4 8] [--batch-size=2] [--rounds=5]
        [--json=FILE] [--config.KEY=VALUE ...]

Efficiency is the time of a step on one device by that on n devices. Without accelerators the devices are made of the
same CPU cores, so n of them have n times the work for the same cores: there efficiency is n times the time of one
device by that of n, and shows what splitting and averaging cost. Each number of devices has a process of its own. A
number that the machine does not have is left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import jax
from report import machine, write_json

from cosnet_jax import parallel
from cosnet_jax.config import read_config
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.training.memory_plan import empty_batch
from cosnet_jax.training.optimizer import make_optimizer
from cosnet_jax.training.state import init_state
from cosnet_jax.training.steps import make_steps


def step_seconds(path: str, overrides: list[str], batch_size: int, rounds: int) -> float:
    """Times a video step on all devices that this process sees; returns the median of the rounds."""
    config = read_config(path, overrides)
    model = build_model(config.model, parallel.AXIS)
    variables = init_variables(model, config.seed)
    optimizer = make_optimizer(config.optimizer, variables["params"], config.total_steps)
    state = parallel.replicate(init_state(variables, optimizer))
    batch = empty_batch("video", config.size, batch_size * jax.device_count())
    batch["mask"][..., ::2, :] = 1
    step, batch = parallel.parallelise(make_steps(model, optimizer, config)["video"]), parallel.shard(batch)
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        state, metrics = step(state, batch)
        metrics["loss"].block_until_ready()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])  # the first one compiles


def in_own_process(devices: int, arguments: list[str]) -> float | None:
    """Runs this file on a number of devices; returns the seconds that it prints, or None if there are fewer devices."""
    environment = os.environ | {
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, range(devices))),
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
    }
    command = [sys.executable, __file__, *arguments, f"--on={devices}"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seen, *seconds = done.stdout.split()
    if seconds:
        return float(seconds[0])
    print(f"{devices} devices are left out: JAX sees {seen} of them", file=sys.stderr)
    return None


def main() -> None:
    """Prints one table and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/davis16.py", help="a file of configs/")
    parser.add_argument("--devices", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--batch-size", type=int, default=2, help="pairs on each device")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--on", type=int, metavar="N", help=argparse.SUPPRESS)  # what a process of its own is for
    arguments, overrides = parser.parse_known_args()
    if arguments.on:  # CUDA hides the devices from the first one on that does not exist
        print(jax.device_count(), flush=True)
        if jax.device_count() == arguments.on:
            print(step_seconds(arguments.config, overrides, arguments.batch_size, arguments.rounds))
        return

    measured = {devices: in_own_process(devices, sys.argv[1:]) for devices in arguments.devices}
    times = {devices: seconds for devices, seconds in measured.items() if seconds is not None}
    if not times:
        sys.exit(f"--devices is {arguments.devices}; expected numbers of devices that this machine has")
    shared = jax.default_backend() == "cpu"  # all devices share the cores
    fewest = next(iter(times))
    results, first = {}, times[fewest] / (fewest if shared else 1)
    print(f"{arguments.config}, {arguments.batch_size} pairs a device; {machine()}")
    for devices, seconds in times.items():
        efficiency = first * (devices if shared else 1) / seconds
        images = 2 * arguments.batch_size * devices / seconds
        results[devices] = {"seconds": seconds, "images_per_second": images, "efficiency": efficiency}
        print(f"  {devices:2} devices: {seconds:8.3f} s a step, {images:7.1f} images a second, {efficiency:6.1%}")
    if arguments.json:
        settings = {name: value for name, value in vars(arguments).items() if name not in ("json", "on")}
        write_json(arguments.json, {**settings, "overrides": overrides}, results)


if __name__ == "__main__":
    main()
