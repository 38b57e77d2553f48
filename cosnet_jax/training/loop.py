"""The training loop: `cosnet train`, which reads from top to bottom as a training goes."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cosnet_jax import distributed, parallel
from cosnet_jax.checkpoints.load import load_initial_weights
from cosnet_jax.checkpoints.store import BEST, LATEST, CheckpointFolder
from cosnet_jax.data.pipeline import make_batches
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.progress import track
from cosnet_jax.training.config import Config
from cosnet_jax.training.metric_log import MetricLog
from cosnet_jax.training.optimizer import make_optimizer, make_schedule
from cosnet_jax.training.profiler import Profiler
from cosnet_jax.training.state import init_state
from cosnet_jax.training.step_log import StepLog
from cosnet_jax.training.steps import make_steps
from cosnet_jax.training.validation import Validation, open_scorable_sequences
from cosnet_jax.training.workdir import claimed_workdir


def train(config: ConfigDict, workdir: Path) -> bool:
    """Trains, or continues a training, until `config.total_steps` or SIGTERM.

    Args:
      config: the whole configuration.
      workdir: gets `checkpoints/`, `best/`, `metrics.jsonl`, `tensorboard/` and `config.json`.

    Returns:
      Whether it was SIGTERM; then the step it came in was saved, if one had begun.

    Raises:
      InputError: if the configuration, the data or what is in `workdir` do not fit, or another process trains there,
        before the first step; or if a loss is not finite, the data cannot be read or the disk is full.
    """
    Config.read(config)
    model = build_model(config.model, parallel.AXIS)
    distributed.start(config.distributed)
    parallel.check_batch_size(config.batch_size)
    preemption = parallel.Preemption()
    try:
        with contextlib.ExitStack() as resources:
            parallel.on_first(lambda: resources.enter_context(claimed_workdir(config, workdir)))
            done, preempted = take_steps(model, config, workdir, resources, preemption)
    except parallel.Preempted:
        parallel.say("SIGTERM: stopped before a step; the same command starts again")
        return True
    if preempted:
        parallel.say(f"SIGTERM: saved step {done}; the same command continues")
    return preempted


def take_steps(
    model: COSNet,
    config: ConfigDict,
    workdir: Path,
    resources: contextlib.ExitStack,
    preemption: parallel.Preemption,
) -> tuple[int, bool]:
    """Does what `train` says in a claimed `workdir`; `resources` close what it opens.

    Returns:
      The steps done, and whether SIGTERM came.
    """
    step_kinds = Config.read(config).step_kinds
    parallel.say(f"{config.name}: {parallel.describe()}")

    # Data.
    batches = {
        kind: make_batches(kind, config.data, config.size, config.batch_size, config.seed, parallel.process())
        for kind in sorted(set(step_kinds))
    }
    for iterator in batches.values():
        resources.callback(iterator.close)
    sequences = open_scorable_sequences(config)

    # Parameters, optimiser, state.
    variables = init_variables(model, config.seed)
    if config.init:
        variables = load_initial_weights(variables, config.init)
    optimizer = make_optimizer(config.optimizer, variables["params"], config.total_steps)
    state = parallel.replicate(init_state(variables, optimizer, config.optimizer.ema))
    steps = {kind: parallel.parallelise(step) for kind, step in make_steps(model, optimizer, config).items()}
    segmenter = Segmenter.from_config(config, variables)

    # Where an earlier run stopped.
    latest = CheckpointFolder(workdir / LATEST, config.keep_checkpoints)
    resources.callback(latest.close)
    best = CheckpointFolder(workdir / BEST, keep=1)
    resources.callback(best.close)
    start, progress = 0, dict[str, Any]()
    if found := latest.restore_newest(state):
        start, state, progress = found
        for kind, position in progress["data"].items():
            batches[kind].set_state(position)
        parallel.say(f"continues from step {start}")
    else:
        best.set_aside_from(0)  # of a training whose checkpoints are gone
    # It comes after its checkpoint; the result is the same if it comes again.
    validation_due = bool(config.validate_every) and progress.get("validation_due", False)
    log = MetricLog(workdir, start, parallel.is_first(), validation_due)
    resources.callback(log.close)
    profiler = Profiler(config.profile_steps or (), workdir, writes=parallel.is_first())
    resources.callback(profiler.close)
    schedule, skips = make_schedule(config.optimizer, config.total_steps), config.nonfinite_steps == "skip"
    step_log = StepLog(log, config.log_every, config.total_steps, schedule, skips)
    validation = Validation(config, segmenter, sequences, best, log)
    validation.best_score = progress.get("best_score", validation.best_score)
    if validation_due:
        with step_log.paused():
            validation.run(start, state)

    done, preempted = start, False
    preemption.begin_steps()
    for step in track(range(start, config.total_steps), "training", silent=not parallel.is_first()):
        kind, done = step_kinds[step % len(step_kinds)], step + 1
        with step_log.waiting():
            batch = parallel.shard(next(batches[kind]))
        with profiler.step(done):
            state, metrics = steps[kind](state, batch)
        profiler.stop_after(done, metrics)
        step_log.add(done, kind, metrics, images=math.prod(batch["mask"].shape[1:-2]))
        last, preempted = done == config.total_steps, preemption.reached(done)
        if preempted:
            step_log.end(done)

        due = validation.is_due(done)
        if done % config.checkpoint_every == 0 or last or preempted or due:
            with step_log.paused():
                positions = {kind: iterator.get_state() for kind, iterator in batches.items()}
                progress = {"best_score": validation.best_score, "validation_due": due, "data": positions}
                latest.save(done, state, config, progress)
        if preempted:
            break
        if due:  # after the state is saved: a scheduler may kill what takes long
            with step_log.paused():
                validation.run(done, state)
    return done, preempted
