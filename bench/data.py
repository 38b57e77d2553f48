"""Measures how fast batches for training are read, decoded and augmented, by threads and worker processes.

    python bench/data.py --config=configs/davis16_lite.py [--kind=video] [--threads 1 2 4] [--workers 0 2]
        [--batches=40] [--json=FILE] [--config.KEY=VALUE ...]

The data must be prepared or have a source, as for train.py. Each combination makes a few batches to warm up, then those
that count. Seconds of the CPU are those of this process and its workers.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
from pathlib import Path

from report import machine, seconds_so_far, timed, write_json

from cosnet_jax.config import read_config
from cosnet_jax.data.pipeline import still_batches, video_batches

MAKERS = {"still": (still_batches, 1), "video": (video_batches, 2)}  # and images of an example


def measure(config, kind: str, threads: int, workers: int, count: int) -> dict[str, float]:
    """Makes `count` batches; returns images a second, and milliseconds of the CPU an image, warming up included."""
    config = config.copy_and_resolve_references()
    config.data.update({"threads": threads, "workers": workers})
    make, per_example = MAKERS[kind]
    warm_up, start = 2 * max(workers, 1), seconds_so_far()
    with contextlib.closing(make(config.data, config.size, config.batch_size, config.seed)) as batches:
        for _ in range(warm_up):
            next(batches)
        seconds, _ = timed(lambda: [next(batches) for _ in range(count)])
    images = per_example * config.batch_size
    cpu = (seconds_so_far().cpu - start.cpu) / (images * (count + warm_up))
    return {"images_per_second": images * count / seconds.clock, "cpu_milliseconds": 1000 * cpu}


def main() -> None:
    """Prints one table and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/davis16_lite.py", help="a file of configs/")
    parser.add_argument("--kind", choices=MAKERS, default="video", help="of the steps")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2, 4], help="in each worker process, if any")
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2], help="processes; 0: threads of this one")
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments, overrides = parser.parse_known_args()
    config = read_config(arguments.config, overrides)
    results = {}
    print(f"{config.name}, {arguments.kind} batches of {config.batch_size}, {tuple(config.size)}; {machine()}")
    for workers, threads in itertools.product(arguments.workers, arguments.threads):
        row = measure(config, arguments.kind, threads, workers, arguments.batches)
        results[f"{workers} workers, {threads} threads"] = row
        speed = (
            f"{row['images_per_second']:7.0f} images a second, {row['cpu_milliseconds']:5.1f} ms of the CPU an image"
        )
        print(f"  {workers} workers, {threads} threads: {speed}", flush=True)
    if arguments.json:
        settings = {name: value for name, value in vars(arguments).items() if name != "json"}
        write_json(arguments.json, {**settings, "overrides": overrides}, results)


if __name__ == "__main__":
    main()
