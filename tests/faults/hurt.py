"""What the processes do that are hurt, from within or by SIGKILL, and what was lost.

Importing this starts no JAX backend, so that a process which has imported it can be forked.
"""

from __future__ import annotations

import itertools
import os
import pickle
import random
import shutil
import signal
import traceback
from collections.abc import Collection, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from compilation import compilation_flags

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = compilation_flags(devices=1)

import jax
from absl import logging
from faults import inference_faults
from faults.moments import TooLate, interrupt_at_any_moment
from faults.programs import KeptPrograms
from faults.resources import Resources, measure, measured, problem_with
from faults.training import STEPS, Compiled, smoke_config, steps_done
from faults.training_faults import DAMAGING, FAULTS, MOST_STEPS, WEIGHTS
from faults.victims import MARK

import train
from cosnet_jax.checkpoints.store import DAMAGED
from cosnet_jax.commands.segment_video import VideoSegmenter
from cosnet_jax.data.pipeline import Batches

KEPT = "kept.pickle"  # what `prepare` leaves for the other processes
MOST_FAULTS = 6  # of one training
INTERRUPTED = {"segment": inference_faults.run_segment, "evaluate": inference_faults.run_evaluate_alone}


class Hurt:
    """Trains, segments and evaluates in a folder that `prepare` has filled.

    Args:
      folder: the folder.
      step_pattern: of the trainings.
      keeps: whether what is compiled is kept there for other processes.
    """

    def __init__(self, folder: Path, step_pattern: str, keeps: bool = False):
        self.folder = folder
        self.config = smoke_config(folder, step_pattern)
        self.compiled = Compiled(KeptPrograms(folder / "programs", writes=keeps))
        self.expected: dict[str, Any] = {}

    def prepare(self, works: Collection[str]) -> None:
        """Does some works once undisturbed, and keeps what they gave and what was compiled for the other processes."""
        inference_faults.make_inputs(self.folder)
        for name, run in self.works().items():
            if name == "train":
                run(self.folder, self.folder / inference_faults.TRAINED)
                _, self.expected[name] = self.compiled.final_state(self.config, self.folder / inference_faults.TRAINED)
            elif name in works:
                run(self.folder, self.folder / "undisturbed" / name)
                self.expected[name] = inference_faults.files_in(self.folder / "undisturbed" / name)
        (self.folder / KEPT).write_bytes(pickle.dumps((self.compiled.keep(), self.expected)))

    def load(self) -> None:
        """Takes over what `prepare` kept."""
        kept, self.expected = pickle.loads((self.folder / KEPT).read_bytes())
        self.compiled.take_over(*kept)

    def works(self) -> dict[str, inference_faults.Work]:
        """What SIGKILL hurts."""
        return {
            "train": lambda _, workdir: train.train(self.config, workdir),
            "segment": inference_faults.run_segment,
            "evaluate": inference_faults.run_evaluate,
        }

    def problem_after_kill(self, work: str, workdir: Path) -> str:
        """Goes on with what a killed process left; returns what was lost."""
        try:
            if work == "train":
                train.train(self.config, workdir)
                return self.compiled.problem_with(self.config, workdir, self.expected["train"])
            run = INTERRUPTED[work]
            return inference_faults.problem_with(run, self.folder, workdir, self.expected[work])
        except Exception:
            return traceback.format_exc()[-1500:]

    def hurt_training(self, seed: int, names: Sequence[str]) -> tuple[list[str], str]:
        """Trains once, hurt again and again until it is nearly done.

        Args:
          seed: decides the faults.
          names: what to choose from; none for all.

        Returns:
          The faults, and what was lost, "" for nothing.
        """
        rng, workdir, injected = random.Random(f"training {seed}"), self.folder / "hurt", []
        names = names or list(FAULTS)
        for path in self.folder.glob("hurt*"):
            shutil.rmtree(path, ignore_errors=True)
        names_left = (self.folder / f"hurt{number}" for number in itertools.count())
        try:
            while steps_done(workdir) <= STEPS - MOST_STEPS and len(injected) < MOST_FAULTS:
                injected += rng.choices(names, [WEIGHTS[name] for name in names])
                try:
                    FAULTS[injected[-1]](self.config, workdir, rng, self.compiled)
                except TooLate:
                    injected.pop()
                # Threads that a failed save left write to the old name. A process of its own would have ended.
                workdir = workdir.rename(next(names_left)) if workdir.exists() else workdir
            train.train(self.config, workdir)
            if len(list(workdir.glob(f"*/*{DAMAGED}*"))) > sum(name in DAMAGING for name in injected):
                return injected, "a whole checkpoint was set aside"
            return injected, self.compiled.problem_with(self.config, workdir, self.expected["train"])
        except Exception:
            return injected, traceback.format_exc()[-1500:]

    def interrupt(self, seed: int, work: str) -> tuple[list[str], str]:
        """Interrupts a segmentation or an evaluation at random moments until it is done; returns as `hurt_training`."""
        rng, workdir, injected = random.Random(f"{work} {seed}"), self.folder / "interrupted", []
        run = INTERRUPTED[work]
        shutil.rmtree(workdir, ignore_errors=True)
        try:
            while True:
                try:
                    interrupt_at_any_moment(rng, signal.SIGINT, work, lambda: run(self.folder, workdir))
                except TooLate:
                    return injected, inference_faults.problem_with(run, self.folder, workdir, self.expected[work])
                injected.append(f"{work}, SIGINT")
        except Exception:
            return injected, traceback.format_exc()[-1500:]

    def measure_training(self, steps: int) -> tuple[list[Resources], str]:
        """Trains for many steps; returns what the process held on the way, and what grew."""
        config = self.config.copy_and_resolve_references()
        config.update({"total_steps": steps, "log_every": 50, "checkpoint_every": 100, "validate_every": 250})
        workdir = self.folder / "measured"
        shutil.rmtree(workdir, ignore_errors=True)
        train.train(self.config, workdir / "first")  # starts the pools of threads that stay
        before = measure()
        with measured(Batches, "__next__", steps) as found:
            train.train(config, workdir / "long")
        return found, problem_with(before, found)

    def measure_segment(self, clips: int) -> tuple[list[Resources], str]:
        """Segments many clips; returns as `measure_training`."""
        paths = [self.folder / "many" / f"clip{clip}" for clip in range(clips)]
        for number, path in enumerate(paths):
            inference_faults.make_clip(path, number)
        workdir = self.folder / "measured"
        inference_faults.segment(paths[:1], workdir / "first", self.folder / inference_faults.TRAINED)
        before = measure()
        with measured(VideoSegmenter, "segment", clips) as found:
            inference_faults.segment(paths, workdir / "many", self.folder / inference_faults.TRAINED)
        return found, problem_with(before, found)


def serve(connection: Connection, folder: Path, step_pattern: str, works: Collection[str], keeps: bool = True) -> None:
    """Answers calls of methods of `Hurt` until there are no more; fills the folder for some works first if need be.

    Args:
      connection: to who calls.
      folder, step_pattern: see `Hurt`.
      works: what to prepare.
      keeps: whether to keep what is compiled for `be_killed`.
    """
    prepares = not (folder / KEPT).exists()
    hurt = _start(folder, step_pattern, prepares and keeps)
    with hurt.compiled.used():
        hurt.prepare(works) if prepares else hurt.load()
        connection.send("ready")
        while True:
            try:
                method, *arguments = connection.recv()
            except EOFError:
                return
            connection.send(getattr(hurt, method)(*arguments))


def be_killed(connection: Connection, folder: Path, step_pattern: str, work: str, workdir: Path) -> None:
    """Does some work of `Hurt.works`, unless it is killed before."""
    os.environ[MARK] = str(workdir)
    hurt = _start(folder, step_pattern)
    with hurt.compiled.used():
        hurt.load()
        connection.send("ready")
        hurt.works()[work](folder, workdir)
    connection.send("done")


def _start(folder: Path, step_pattern: str, keeps: bool = False) -> Hurt:
    """Makes a new process one of those that are hurt: quiet, and in nobody's terminal."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with open(folder / "errors.txt", "ab") as errors, open(os.devnull, "wb") as nowhere:
        os.dup2(errors.fileno(), 2)
        os.dup2(nowhere.fileno(), 1)  # not into a file, which `full_disk` would limit
    logging.set_verbosity(logging.ERROR)
    if keeps:  # what is found in the cache could not be kept once more
        jax.config.update("jax_enable_compilation_cache", False)
    elif not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return Hurt(folder, step_pattern, keeps)
