"""Faults of a training that its own process survives.

Each takes a training a few steps further, breaks something there, and mends what will be needed again: the same
training can be hurt many times before it is done.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from faults.moments import interrupt_at_any_moment
from faults.training import Compiled
from ml_collections import ConfigDict

import train
from cosnet_jax.checkpoints.store import LATEST
from cosnet_jax.data import pipeline, sequences
from cosnet_jax.errors import InputError
from cosnet_jax.training.metric_log import METRICS_FILE

MOST_STEPS = 4  # that a fault lets a training go on
Fault = Callable[[ConfigDict, Path, random.Random, Compiled], None]


class Stopped(Exception):
    """Takes the place of a process that is killed between two steps."""


@contextlib.contextmanager
def at_step(step: int, act: Callable[[], None]) -> Iterator[None]:
    """Calls `act` before the batch of a step is made, counted from 1 over the steps of this run."""
    original, made = pipeline.Batches.__next__, [0]

    def take(batches: pipeline.Batches) -> dict:
        made[0] += 1
        if made[0] == step:
            act()
        return original(batches)

    with mock.patch.object(pipeline.Batches, "__next__", take):
        yield


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Expects an InputError; its message is one line."""
    try:
        yield
    except InputError as error:
        assert "\n" not in str(error)
    else:
        raise AssertionError("the fault was not noticed")


def train_on(steps: int, config: ConfigDict, workdir: Path) -> None:
    """Trains for some steps, as if the process was killed then."""

    def stop() -> None:
        raise Stopped

    with contextlib.suppress(Stopped), at_step(steps + 1, stop):
        train.train(config, workdir)


def _newest_files(workdir: Path) -> list[Path]:
    steps = [int(path.name) for path in (workdir / LATEST).iterdir() if path.name.isdigit()]
    files = (workdir / LATEST / str(max(steps))).glob("**/*")
    return sorted(path for path in files if path.is_file() and path.stat().st_size)


def truncated_checkpoint(config: ConfigDict, workdir: Path, rng: random.Random, _: Compiled) -> None:
    train_on(rng.randint(1, 3), config, workdir)
    file = rng.choice(_newest_files(workdir))
    file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size)])


def flipped_checkpoint(config: ConfigDict, workdir: Path, rng: random.Random, _: Compiled) -> None:
    train_on(rng.randint(1, 3), config, workdir)
    file = rng.choice(_newest_files(workdir))
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def deleted_file_of_checkpoint(config: ConfigDict, workdir: Path, rng: random.Random, _: Compiled) -> None:
    train_on(rng.randint(1, 3), config, workdir)
    rng.choice(_newest_files(workdir)).unlink()


def deleted_checkpoint(config: ConfigDict, workdir: Path, rng: random.Random, _: Compiled) -> None:
    train_on(rng.randint(1, 3), config, workdir)
    steps = sorted(path for path in (workdir / LATEST).iterdir() if path.name.isdigit())
    for folder in rng.sample(steps, rng.randrange(1, len(steps) + 1)):
        shutil.rmtree(folder)


def full_disk(config: ConfigDict, workdir: Path, rng: random.Random, _: Compiled) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (rng.choice((512, 4096, 20_000)), before[1]))
    try:
        with refused():
            train.train(config, workdir)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def damaged_records(config: ConfigDict, workdir: Path, rng: random.Random, _: Compiled) -> None:
    """A record of the dataset becomes unreadable while the training runs, and is whole again afterwards."""
    files = sorted(Path(config.data.data_dir).glob("**/*.array_record*"))
    data = {file: file.read_bytes() for file in files}
    sequences._records.cache_clear()  # a process of its own would have opened them now
    for file in files:
        file.write_bytes(data[file][: rng.randrange(len(data[file]))])
    try:
        with refused():
            train.train(config, workdir)
    finally:
        for file in files:
            file.write_bytes(data[file])
        sequences._records.cache_clear()


def infinite_loss(config: ConfigDict, workdir: Path, rng: random.Random, compiled: Compiled) -> None:
    """A step gives NaN: the training must stop before that state is saved."""
    with at_step(rng.randint(1, MOST_STEPS - 1), lambda: setattr(compiled, "poison_next", True)), refused():
        train.train(config, workdir)
    compiled.poison_next = False


def clock_backwards(config: ConfigDict, workdir: Path, rng: random.Random, _: Compiled) -> None:
    start, calls = time.time(), [0]

    def earlier() -> float:
        calls[0] += 1
        return start - calls[0] * 1000.0

    with mock.patch("time.time", earlier):
        train_on(rng.randint(1, 3), config, workdir)


def second_training(config: ConfigDict, workdir: Path, rng: random.Random, _: Compiled) -> None:
    """A second training in the same folder is refused while the first one runs."""

    def start_another() -> None:
        with refused():
            train.train(config, workdir)

    with at_step(rng.randint(1, 2), start_another):
        train_on(2, config, workdir)


def killed_worker(config: ConfigDict, workdir: Path, rng: random.Random, _: Compiled) -> None:
    """The process that makes batches is killed. If all batches are made by then, nobody notices."""

    def kill() -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
            child.join()

    config.data.workers = 1
    try:
        with at_step(rng.randint(2, 3), kill), contextlib.suppress(InputError):
            train_on(3, config, workdir)
    finally:
        config.data.workers = 0


def torn_metrics(config: ConfigDict, workdir: Path, rng: random.Random, _: Compiled) -> None:
    train_on(rng.randint(1, 3), config, workdir)
    with open(workdir / METRICS_FILE, "ab") as file:
        file.write(b'{"step": 7, "kind": "vid')


def signalled(number: int) -> Fault:
    """A fault that sends a signal at any moment of a training."""

    def send_signal(config: ConfigDict, workdir: Path, rng: random.Random, _: Compiled) -> None:
        interrupt_at_any_moment(rng, number, "train", lambda: train.train(config, workdir))

    return send_signal


FAULTS: dict[str, Fault] = {
    "checkpoint truncated": truncated_checkpoint,
    "checkpoint bit-flipped": flipped_checkpoint,
    "file of a checkpoint deleted": deleted_file_of_checkpoint,
    "checkpoints deleted": deleted_checkpoint,
    "disk full": full_disk,
    "dataset unreadable": damaged_records,
    "loss not finite": infinite_loss,
    "clock backwards": clock_backwards,
    "second training": second_training,
    "metrics torn": torn_metrics,
    "SIGTERM": signalled(signal.SIGTERM),
    "SIGINT": signalled(signal.SIGINT),
    "data worker killed": killed_worker,
}
DAMAGING = ("checkpoint truncated", "checkpoint bit-flipped", "file of a checkpoint deleted")
# How often a fault is injected among the others; a worker takes seconds to start.
WEIGHTS = {name: 0.1 if name == "data worker killed" else 1.0 for name in FAULTS}
