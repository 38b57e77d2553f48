"""Tiny trainings to hurt, and the proof that nothing was lost.

One process trains many times: the steps are compiled once and kept, which changes no number.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from faults.programs import KeptPrograms
from ml_collections import ConfigDict
from raw_datasets import make_stills, make_videos
from tiny_network import make_tiny, random_variables

import train
from configs import synthetic
from cosnet_jax.checkpoints.store import LATEST, CheckpointFolder
from cosnet_jax.data.prepare import prepare
from cosnet_jax.training.metric_log import METRICS_FILE, read_metrics
from cosnet_jax.training.state import init_state

STEPS = 12
VALIDATED = [4, 8, 12]


def smoke_config(data: Path, step_pattern: str) -> ConfigDict:
    """A training of a few steps on tiny sets on disk, whose files can be hurt.

    Args:
      data: folder for the raw sets and the prepared ones; they are made if need be.
      step_pattern: its kinds of steps; those of videos take a minute to compile, those of stills half of it.
    """
    config = make_tiny(synthetic.get_config("smoke"))
    config.batch_size, config.size, config.total_steps = 2, (32, 32), STEPS
    config.step_pattern = step_pattern
    config.optimizer.name, config.optimizer.learning_rate = "sgd", 0.003  # half of the arrays of Adam
    config.log_every = config.checkpoint_every = 1
    config.validate_every, config.keep_checkpoints = 4, 3
    config.data.synthetic.update({"num_videos": 2, "num_val_videos": 1, "num_frames": 3})
    config.data.synthetic.size = (32, 32)
    config.data.train_videos, config.data.train_stills, config.data.threads = "videos", "stills", 1
    config.data.data_dir = str(data / "prepared")
    if not (data / "prepared").exists():
        make_videos(data / "videos", {"cat": (3, [0, 1, 2]), "dog": (3, [0, 2])})
        prepare("videos", str(data / "videos"), config.data.data_dir)
        make_stills(data / "stills" / "images", data / "stills" / "masks", 3)
        prepare("stills", str(data / "stills"), config.data.data_dir)
    return config


class Compiled:
    """The steps and the initial state of `smoke_config`, made once for all trainings of a process.

    Attributes:
      poison_next: makes the next step give NaN.
    """

    def __init__(self, programs: KeptPrograms):
        self.poison_next = False
        self._programs = programs
        self._steps: dict[str, Any] = {}
        self._variables: Any = None
        self._state: Any = None

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Makes `train.py` use these steps, and skip what else takes long and decides nothing."""
        with (
            self._programs.used(),
            mock.patch.multiple(
                train, make_steps=self._make_steps, init_variables=self._init_variables, init_state=self._init_state,
                plan_memory=lambda *_: "",
            ),
        ):  # fmt: skip
            parallelise = train.parallel.parallelise
            with mock.patch.object(train.parallel, "parallelise", lambda step: step):
                self._parallelise = parallelise
                yield

    def _make_steps(self, model: Any, optimizer: Any, config: ConfigDict) -> dict[str, Any]:
        if not self._steps:
            steps = make_steps(model, optimizer, config)
            self._steps = {kind: self._parallelise(step) for kind, step in steps.items()}
        return {kind: functools.partial(self._take, step) for kind, step in self._steps.items()}

    def _take(self, step: Any, state: Any, batch: Any) -> tuple[Any, Any]:
        state, metrics = step(state, batch)
        if self.poison_next:
            self.poison_next = False
            state = state.replace(params=jax.tree.map(lambda leaf: leaf * jnp.nan, state.params))
            metrics = {**metrics, "loss": metrics["loss"] * jnp.nan, "finite": metrics["finite"] * 0}
        return state, metrics

    def _init_variables(self, model: Any, seed: int) -> Any:
        if self._variables is None:
            self._variables = random_variables(model, seed)  # without compiling the initialisers
        return self._variables

    def _init_state(self, variables: Any, optimizer: Any) -> Any:
        if self._state is None:
            self._state = jax.device_get(init_state(variables, optimizer))
        return self._state

    def keep(self) -> tuple[Any, Any]:
        """The initial variables and state, for another process, which puts them in with `take_over`."""
        return self._variables, self._state

    def take_over(self, variables: Any, state: Any) -> None:
        """Takes what `keep` gave."""
        self._variables, self._state = variables, state

    def final_state(self, config: ConfigDict, workdir: Path) -> tuple[int, list[np.ndarray]]:
        """The newest whole checkpoint of a training: its step and its arrays."""
        folder = CheckpointFolder(workdir / LATEST, keep=config.keep_checkpoints)
        step, state, _ = folder.restore_newest(self._state)
        folder.close()
        return step, [np.asarray(leaf) for leaf in jax.tree.leaves(state)]

    def problem_with(self, config: ConfigDict, workdir: Path, expected: list[np.ndarray]) -> str:
        """Compares what a training left with an undisturbed one's final arrays; "" if nothing was lost."""
        step, arrays = self.final_state(config, workdir)
        if step != STEPS:
            return f"ended at step {step}"
        if not all(np.array_equal(array, wanted) for array, wanted in zip(arrays, expected, strict=True)):
            return "other parameters"
        records = read_metrics(workdir / METRICS_FILE)
        steps = [record["step"] for record in records if record["kind"] != "validation"]
        validated = [record["step"] for record in records if record["kind"] == "validation"]
        if steps != list(range(1, STEPS + 1)) or validated != VALIDATED:
            return f"metrics of steps {steps}, validations {validated}"
        left = [path.name for path in workdir.glob("**/*") if ".part" in path.name or "checkpoint-tmp" in path.name]
        return f"left {left[0]}" if left else ""


make_steps = train.make_steps


def steps_done(workdir: Path) -> int:
    """The step of the newest checkpoint of a training, 0 if there is none."""
    folder = workdir / LATEST
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in names if name.isdigit()), default=0)
