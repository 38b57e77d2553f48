"""Trains COSNet.

    python train.py --config=configs/davis16.py --workdir=out/davis16 [--config.KEY=VALUE ...]

Running the same command again goes on from the newest checkpoint, to the bit as if it had never stopped.
"""

import sys
import time
from pathlib import Path

import jax
import tqdm
from absl import flags
from ml_collections import ConfigDict

from cosnet_jax import parallel
from cosnet_jax.checkpoints import store as checkpoints
from cosnet_jax.checkpoints.initial import load_backbone
from cosnet_jax.config import check_config, inference_size, keep_config, parse_step_pattern, run
from cosnet_jax.data.pipeline import still_batches, video_batches
from cosnet_jax.data.sequences import open_validation_sequences
from cosnet_jax.inference.segmenter import InferenceOptions, Segmenter
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.progress import track
from cosnet_jax.training.metric_log import MetricLog
from cosnet_jax.training.optimizer import make_optimizer
from cosnet_jax.training.state import init_state
from cosnet_jax.training.steps import make_steps
from cosnet_jax.training.validation import validate


def train(config: ConfigDict, workdir: Path) -> None:
    """Trains, or goes on training, until `config.total_steps`.

    Args:
      config: the whole configuration.
      workdir: gets `checkpoints/`, `best/`, `metrics.jsonl`, `tensorboard/` and `config.json`.

    Raises:
      InputError: if the configuration, the data or what is in `workdir` do not fit; before the first step.
    """
    # Configuration and devices.
    check_config(config)
    model = build_model(config.model, parallel.AXIS, config.head_dropout)
    parallel.start(config.distributed)
    parallel.check_batch_size(config.batch_size)
    keep_config(config, workdir)
    step_pattern = parse_step_pattern(config.step_pattern)
    print(f"{config.name}: {parallel.describe()}")

    # Data.
    makers = {"still": still_batches, "video": video_batches}
    batches = {
        kind: makers[kind](config.data, config.size, config.batch_size, config.seed, *parallel.process())
        for kind in sorted(set(step_pattern))
    }
    sequences = open_validation_sequences(config.data)

    # Parameters, optimiser, state.
    variables = init_variables(build_model(config.model), config.seed)
    if config.init:
        variables = load_backbone(variables, config.init)
    optimizer = make_optimizer(config.optimizer, variables["params"], config.total_steps)
    state = parallel.replicate(init_state(variables, optimizer))
    steps = {kind: parallel.parallelise(step) for kind, step in make_steps(model, optimizer, config).items()}

    # Where an earlier run stopped.
    latest = checkpoints.Checkpoints(workdir / checkpoints.LATEST, config.keep_checkpoints)
    best = checkpoints.Checkpoints(workdir / checkpoints.BEST, keep=1)
    start, best_score = latest.latest_step() or 0, -1.0
    if start:
        state, progress = latest.restore(start, state)
        best_score = progress["best_score"]
        for kind, position in progress["data"].items():
            batches[kind].set_state(position)
        print(f"going on from step {start}")
    log = MetricLog(workdir, start)
    setting = InferenceOptions(
        **{key: config.inference[key] for key in InferenceOptions._fields if key in config.inference}
    )
    segmenter = Segmenter(build_model(config.model), variables, inference_size(config), setting)

    # The loop. One step is always under way while the host gets the next batch, so the device never waits for the host.
    pending, waited, since, logged = [], 0.0, time.monotonic(), start
    for step in track(range(start, config.total_steps), "training"):
        kind, asked = step_pattern[step % len(step_pattern)], time.monotonic()
        batch = parallel.shard(next(batches[kind]))
        waited += time.monotonic() - asked
        state, metrics = steps[kind](state, batch)
        if pending:
            jax.block_until_ready(pending[-1][1])
        pending.append((kind, metrics))
        done = step + 1

        if done % config.log_every == 0 or done == config.total_steps:
            ready, pending = (pending, []) if done == config.total_steps else (pending[:-1], pending[-1:])
            elapsed = time.monotonic() - since
            speed = {"seconds_per_step": elapsed / (done - logged), "waiting_for_data": waited / elapsed}
            log_training(log, done, ready, {"learning_rate": optimizer.learning_rate(step), **speed})
            waited, since, logged = 0.0, time.monotonic(), done

        if config.validate_every and (done % config.validate_every == 0 or done == config.total_steps):
            segmenter.variables = jax.device_put(parallel.gather(state.variables))
            scores = validate(segmenter, sequences, config.validate_frames)
            log.write(done, "validation", scores)
            tqdm.tqdm.write(f"step {done}: validation J {scores['J']:.3f}, single frame {scores['J_single_frame']:.3f}")
            if scores["J"] > best_score:
                best_score = scores["J"]
                best.save(done, state, config, {"best_score": best_score})
            since = time.monotonic()

        if done % config.checkpoint_every == 0 or done == config.total_steps:
            positions = {kind: iterator.get_state() for kind, iterator in batches.items()}
            latest.save(done, state, config, {"best_score": best_score, "data": positions})

    log.close()
    latest.close()
    best.close()


def log_training(log: MetricLog, step: int, ready: list, extra: dict) -> None:
    """Writes the mean of the metrics of each kind of step, and prints the loss."""
    for kind in sorted({kind for kind, _ in ready}):
        records = parallel.gather([metrics for name, metrics in ready if name == kind])
        means = {name: sum(record[name] for record in records) / len(records) for name in records[0]}
        log.write(step, kind, {**means, **extra})
        speed = f"{extra['seconds_per_step']:.2f} s a step, {extra['waiting_for_data']:.0%} waiting for data"
        tqdm.tqdm.write(f"step {step}: {kind} loss {means['loss']:.4f}, {speed}")
        sys.stdout.flush()


if __name__ == "__main__":
    WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and the configuration.", required=True)
    run(lambda config: train(config, Path(WORKDIR.value)))
