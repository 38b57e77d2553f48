"""Measures co-attention of one pair: the affinity at once against block by block, by number of positions.

    python bench/coattention.py [--sides 30 60 90] [--channels=512] [--budget=16] [--dtype=bfloat16] [--rounds=5]
        [--json=FILE]

Forward and gradient of `attend` (Eqs. 1, 6 and 7) on random features of side x side positions; 60 is that of a 473x473
input. Memory is XLA's own analysis of the compiled program, beside inputs and gradients. Both forms are timed in turn;
medians count.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from report import machine, write_json

from cosnet_jax.models.coattention import attend

MIB = 2**20
AT_ONCE = 1e9  # MiB


def compile_attend(features: list[jax.Array], budget: float):
    """Compiles the gradient of `attend` with respect to queries, keys and values."""

    def loss(queries, keys, values):
        return (attend(queries, keys, values, budget).astype(jnp.float32) ** 2).mean()

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*features).compile()


def measure(side: int, channels: int, budget: float, dtype: str, rounds: int) -> dict[str, dict[str, float]]:
    """Measures both forms on side x side positions: seconds and MiB of each, and their largest difference."""
    keys = jax.random.split(jax.random.key(0), 3)
    features = [(jax.random.normal(key, (1, side**2, channels)) / channels**0.25).astype(dtype) for key in keys]
    programs = {"at once": compile_attend(features, AT_ONCE), "blocks": compile_attend(features, budget)}
    times: dict[str, list[float]] = {name: [] for name in programs}
    gradients = {name: jax.block_until_ready(program(*features)) for name, program in programs.items()}
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(*features))
            times[name].append(time.perf_counter() - start)
    difference = max(
        float(jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32)).max() / jnp.abs(a).max())
        for a, b in zip(*gradients.values(), strict=True)
    )
    return {
        name: {
            "seconds": statistics.median(times[name]),
            "mib": program.memory_analysis().temp_size_in_bytes / MIB,
            "difference": difference,
        }
        for name, program in programs.items()
    }


def main() -> None:
    """Prints one table and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", nargs="+", type=int, default=[30, 60, 90], help="positions on a side of a feature")
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--budget", type=float, default=16.0, help="MiB of a block")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    results = {}
    print(f"C = {arguments.channels}, blocks of {arguments.budget:g} MiB, {arguments.dtype}; {machine()}")
    print(f"{'positions':>10}{'at once':>20}{'blocks':>20}{'time':>7}{'memory':>8}{'difference':>12}")
    for side in arguments.sides:
        row = measure(side, arguments.channels, arguments.budget, arguments.dtype, arguments.rounds)
        results[side**2] = row
        dense, blocks = row["at once"], row["blocks"]
        cells = [f"{form['seconds']:8.3f} s {form['mib']:6.0f} MiB" for form in (dense, blocks)]
        ratios = [blocks[key] / dense[key] for key in ("seconds", "mib")]
        print(
            f"{side**2:10}{cells[0]:>20}{cells[1]:>20}{ratios[0]:6.2f}x{ratios[1]:7.2f}x{dense['difference']:12.1e}",
            flush=True,
        )
    if arguments.json:
        settings = {name: value for name, value in vars(arguments).items() if name != "json"}
        write_json(arguments.json, settings, results)


if __name__ == "__main__":
    main()
