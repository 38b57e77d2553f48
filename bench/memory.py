"""Measures the memory of a training step, by default of the paper's: ResNet-101, 473x473, 8 pairs, without running it.

    python bench/memory.py [--config=configs/davis16.py] [--setting=NAME ...] [--pairs=8] [--json=FILE]
        [--config.KEY=VALUE ...]

For each setting two numbers in GiB:

- kept: the activations that automatic differentiation keeps from the forward pass for the backward pass, counted from
  their shapes.
- temporary: XLA's own memory analysis of the step compiled for the CPU: everything but parameters, optimiser state and
  batch. Two settings bring it closer to an accelerator's program. The convolutions are those for accelerators. And XLA
  keeps the barriers around recomputed activations until it has planned the memory, as it does for GPUs; an ordinary CPU
  program drops them early and gains nothing from rematerialisation. One difference remains: CPUs have no bfloat16
  convolutions, so XLA keeps float32 copies of what they read.

Compiling takes 30-60 s a setting on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
from report import write_json

from cosnet_jax.config import read_config
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.models.cosnet import COSNet
from cosnet_jax.training.memory_plan import empty_batch, size_of
from cosnet_jax.training.optimizer import make_optimizer
from cosnet_jax.training.state import TrainState, init_state
from cosnet_jax.training.steps import make_steps, paper_losses

GIB = 2**30
SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {},
    "float32, remat": {"model.remat": True},
    "bfloat16": {"model.dtype": "bfloat16"},
    "bfloat16, remat": {"model.dtype": "bfloat16", "model.remat": True},
    "bfloat16, remat, 2 parts": {"model.dtype": "bfloat16", "model.remat": True, "accumulate_steps": 2},
    "bfloat16, remat, 4 parts": {"model.dtype": "bfloat16", "model.remat": True, "accumulate_steps": 4},
}
KEEP_BARRIERS: dict[str, str | bool] = {"xla_disable_hlo_passes": "cse_barrier_expander"}


def batch_shapes(size: tuple[int, int], pairs: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of a video batch."""
    return jax.eval_shape(lambda: jax.tree.map(jnp.asarray, empty_batch("video", size, pairs)))


def kept_bytes(model: COSNet, config: ConfigDict, state: TrainState, batch: dict[str, jax.ShapeDtypeStruct]) -> int:
    """Counts what a batch keeps for the backward pass, the parameters apart."""
    loss = paper_losses(model, config)["video"]

    def pullback(params, batch_stats, batch):
        return jax.vjp(lambda params: loss(params, batch_stats, batch, jax.random.key(0)), params, has_aux=True)[1]

    return size_of(jax.eval_shape(pullback, state.params, state.batch_stats, batch)) - size_of(state.params)


def measure(config: ConfigDict, settings: dict[str, Any], pairs: int) -> dict[str, float]:
    """Measures one setting.

    Args:
      config: the configuration.
      settings: what differs from it, by dotted key.
      pairs: pairs of frames in the batch.

    Returns:
      GiB by name: "state" (parameters, statistics, optimiser), "kept", "temporary".
    """
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict({**settings, "batch_size": pairs})
    model = build_model(config.model)
    variables = jax.eval_shape(lambda: init_variables(model, 0))
    optimizer = make_optimizer(config.optimizer, variables["params"], config.total_steps)
    state = jax.eval_shape(lambda variables: init_state(variables, optimizer), variables)
    with mock.patch.object(jax, "default_backend", return_value="gpu"):  # chooses the convolutions of accelerators
        kept = kept_bytes(model, config, state, batch_shapes(config.size, pairs // config.accumulate_steps))
        step = make_steps(model, optimizer, config)["video"]
        lowered = jax.jit(step, donate_argnums=0).lower(state, batch_shapes(config.size, pairs))
    analysis = lowered.compile(compiler_options=KEEP_BARRIERS).memory_analysis()
    sizes = {"state": size_of(state), "kept": kept, "temporary": analysis.temp_size_in_bytes}
    return {name: round(size / GIB, 2) for name, size in sizes.items()}


def main() -> None:
    """Prints one table and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/davis16.py", help="a file of configs/")
    parser.add_argument("--setting", action="append", choices=SETTINGS, help="one of the settings; default: all")
    parser.add_argument("--pairs", type=int, default=8, help="pairs of frames in the batch")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments, overrides = parser.parse_known_args()
    config = read_config(arguments.config, overrides)
    jax.config.update("jax_platforms", "cpu")
    results = {}
    print(f"{config.model.backbone}, {'x'.join(map(str, config.size))}, {arguments.pairs} pairs; GiB")
    print(f"{'setting':28}{'state':>10}{'kept':>10}{'temporary':>12}")
    for name in arguments.setting or SETTINGS:
        results[name] = row = measure(config, SETTINGS[name], arguments.pairs)
        print(f"{name:28}{row['state']:10.2f}{row['kept']:10.2f}{row['temporary']:12.2f}", flush=True)
    if arguments.json:
        settings = {"config": arguments.config, "pairs": arguments.pairs, "overrides": overrides}
        write_json(arguments.json, settings, {"gib": results})


if __name__ == "__main__":
    main()
