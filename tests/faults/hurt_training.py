"""A process that trains again and again while it is hurt, from within or by signals, and tells what was lost.

    python -m faults.hurt_training FOLDER faults COUNT SEED [FAULT ...]
    python -m faults.hurt_training FOLDER victim FIRST COUNT

The first injects faults of `training_faults`. The second is the victim of signals that another process sends: it trains
in one working directory after the other, and begins the same training again when it was stopped. Every line it prints
is a JSON object.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from compilation import compilation_flags

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = compilation_flags(devices=1)

import numpy as np
from absl import logging
from faults.training import Compiled, final_state, problem_with, smoke_config
from faults.training_faults import FAULTS
from ml_collections import ConfigDict

import train


def tell(**values: Any) -> None:
    """Prints a line for the process that started this one."""
    print(json.dumps(values), file=TOLD, flush=True)


def undisturbed(config: ConfigDict, folder: Path) -> list[np.ndarray]:
    """The final arrays of a training that nothing happens to; kept on disk for the next process."""
    kept = folder / "expected.npz"
    if not kept.exists():
        shutil.rmtree(folder / "undisturbed", ignore_errors=True)
        train.train(config, folder / "undisturbed")
        _, arrays = final_state(config, folder / "undisturbed")
        np.savez(folder / "part.npz", *arrays)
        (folder / "part.npz").rename(kept)
    with np.load(kept) as file:
        return [file[name] for name in file.files]


def inject(
    config: ConfigDict, folder: Path, expected: list[np.ndarray], fault: str, seed: int, compiled: Compiled
) -> str:
    """Injects one fault, runs the same command again; returns what was lost."""
    workdir = folder / "hurt"
    shutil.rmtree(workdir, ignore_errors=True)
    try:
        FAULTS[fault](config, workdir, random.Random(f"{fault} {seed}"), compiled)
        train.train(config, workdir)
        return problem_with(config, workdir, expected)
    except Exception:
        return traceback.format_exc()[-1500:]


def be_victim(config: ConfigDict, folder: Path, expected: list[np.ndarray], first: int, count: int) -> None:
    """Trains `count` times, whatever signals come."""
    for number in range(first, first + count):
        workdir = folder / f"victim{number}"
        while True:
            try:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                if not train.train(config, workdir):
                    break
            except KeyboardInterrupt:
                pass
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # what follows is no training
        tell(done=number, lost=problem_with(config, workdir, expected))
        shutil.rmtree(workdir)


def main(folder: Path, way: str, *arguments: str) -> None:
    logging.set_verbosity(logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    config, compiled = smoke_config(folder), Compiled()
    with compiled.used():
        expected = undisturbed(config, folder)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        tell(ready=True)
        if way == "victim":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # until a training begins
            be_victim(config, folder, expected, *map(int, arguments))
            return
        names = arguments[2:] or tuple(FAULTS)
        for number in range(int(arguments[0])):
            fault, seed = names[number % len(names)], int(arguments[1]) + number
            tell(fault=fault, seed=seed, lost=inject(config, folder, expected, fault, seed, compiled))


if __name__ == "__main__":
    TOLD = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the trainings print goes elsewhere
    main(Path(sys.argv[1]), *sys.argv[2:])
