"""What the compilers of GPUs and TPUs make of COSNet's programs, on a machine that has neither.

    make accelerators                                             # its own environment, all targets: some hours
    python bench/accelerators.py --targets h100 8xh100 --programs video-bfloat16 [--json=FILE] [--config.KEY=VALUE ...]

JAX compiles the programs for the topology of the target (extra `[aot]`). The table has, for one device:

- memory: arguments (parameters, optimiser, batch) and temporary buffers in GiB, and whether both fit;
- TFLOP: of matrix products and convolutions, counted from the program before it is compiled;
- traffic: GB that the instructions read and write. GPU: operands and results of the instructions of the entry
  computation; TPU: XLA's own count;
- collectives: how many, and GB; instructions of the entry computation;
- the least time of a step in ms: the larger of TFLOP by the peak and traffic by the bandwidth, and the utilisation of
  the peak that this leaves.

Nothing runs on a chip: a bound says what a step cannot beat, not what it takes. Where this machine has the device of a
target, the program also runs there and its time stands beside the bound.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import re
import time
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
)

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import Mesh, PartitionSpec
from ml_collections import ConfigDict
from report import write_json

from cosnet_jax import parallel
from cosnet_jax.config import read_config
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.progress import track
from cosnet_jax.training.optimizer import make_optimizer
from cosnet_jax.training.state import init_state
from cosnet_jax.training.steps import make_steps

# Facts of an H100 SXM for XLA: a GpuTargetConfigProto.
H100 = """gpu_device_info { threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000
l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
cuda_compute_capability { major: 9 } registers_per_core_limit: 65536 registers_per_block_limit: 65536 }
runtime_version: { major: 13 } platform_name: "CUDA" dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3" """


@dataclasses.dataclass(frozen=True)
class Target:
    """Devices to compile for.

    Attributes:
      platform, topology: as JAX names them.
      pairs: pairs of frames on each device.
      peak: TFLOP a second of a device, in bfloat16 and for products of float32 at JAX's default precision (TF32;
        bfloat16 on TPUs). Vendors' figures, dense.
      bandwidth: GB a second of its memory.
      memory: GiB.
    """

    platform: str
    topology: str
    pairs: int
    peak: dict[str, float]
    bandwidth: float
    memory: float


H100_FACTS = ({"bfloat16": 989.0, "float32": 494.5}, 3352.0, 79.0)
V5E_FACTS = ({"bfloat16": 197.0, "float32": 197.0}, 819.0, 16.0)
V5P_FACTS = ({"bfloat16": 459.0, "float32": 459.0}, 2765.0, 95.0)
TARGETS = {
    "h100": Target("cuda", "1x1x1", 8, *H100_FACTS),
    "8xh100": Target("cuda", "1x1x8", 1, *H100_FACTS),
    "2x8xh100": Target("cuda", "1x2x8", 1, *H100_FACTS),
    "v5e-4": Target("tpu", "v5e:2x2", 2, *V5E_FACTS),
    "v5e-64": Target("tpu", "v5e:8x8", 1, *V5E_FACTS),
    "v5p-8": Target("tpu", "v5p:2x2x2", 1, *V5P_FACTS),
}
PROGRAMS = ("video-float32", "video-float32-remat", "video-bfloat16", "video-bfloat16-remat", "still-bfloat16",
            "inference-bfloat16")  # fmt: skip
REFERENCES = 5  # of inference
BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8,
         "u64": 8, "f64": 8, "f8e4m3fn": 1, "f8e5m2": 1}  # fmt: skip
SHAPE = re.compile(r"\b([a-z]+[0-9]*[a-z0-9]*)\[([0-9,]*)\]")
INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%([\w.-]+) = (.*?) ([a-z-]+)\((.*)$")
FREE = ("bitcast", "tuple", "get-tuple-element", "parameter", "constant")
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")


def make_program(config: ConfigDict, kind: str, examples: int) -> tuple[Any, tuple, Any]:
    """Builds a function and the shapes of its arguments.

    Args:
      config: the whole configuration.
      kind: "video", "still" or "inference".
      examples: pairs, images or frames in the whole batch.

    Returns:
      The function of (shared, batch), their shapes, and the partitions of its results over the devices.
    """
    model = build_model(config.model, parallel.AXIS if kind != "inference" else None)
    variables = jax.eval_shape(lambda: init_variables(model, 0))
    split, shared = PartitionSpec(parallel.AXIS), PartitionSpec()
    if kind != "inference":
        optimizer = make_optimizer(config.optimizer, variables["params"], config.total_steps)
        state = jax.eval_shape(lambda variables: init_state(variables, optimizer), variables)
        shape = (examples, 2, *config.size) if kind == "video" else (examples, *config.size)
        batch = {"image": jax.ShapeDtypeStruct((*shape, 3), jnp.uint8), "mask": jax.ShapeDtypeStruct(shape, jnp.uint8)}
        return make_steps(model, optimizer, config)[kind], (state, batch), (shared, shared)

    def segment(variables, frames):
        """Encodes n frames and segments each, with the next ones of the same batch as its references."""
        features = model.apply(variables, frames, method="encode")
        keys, values = (model.apply(variables, features, method=name) for name in ("keys", "values"))
        chosen = (jnp.arange(len(frames))[:, None] + jnp.arange(1, REFERENCES + 1)) % len(frames)
        summary, _ = model.apply(variables, features, keys[chosen], values[chosen], method="attend")
        return jax.nn.sigmoid(model.apply(variables, features, summary, config.size, method="decode"))

    return segment, (variables, jax.ShapeDtypeStruct((examples, *config.size, 3), jnp.uint8)), split


def count_flop(jaxpr: Any) -> float:
    """Counts the FLOP of the products and convolutions of a traced program, those of inner programs too."""
    total = 0.0
    for equation in jaxpr.eqns:
        inner = [
            getattr(value, "jaxpr", value)
            for parameter in equation.params.values()
            for value in (parameter if isinstance(parameter, tuple | list) else (parameter,))
            if hasattr(getattr(value, "jaxpr", value), "eqns")
        ]
        counts = [count_flop(each) for each in inner]
        if equation.primitive.name == "cond":  # also the choice by platform
            total += min(counts)
        else:
            total += sum(counts) * equation.params.get("length", 1)
        out = math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            total += 2 * out * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        elif equation.primitive.name == "conv_general_dilated":
            kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"]
            total += 2 * out * math.prod(kernel) / kernel[numbers.rhs_spec[0]]
    return total


def bytes_of(shape: str) -> int:
    """Returns the bytes of a shape as XLA writes it; of a tuple, those of its parts."""
    return sum(
        BYTES.get(kind, 0) * math.prod(int(length) for length in lengths.split(",") if length)
        for kind, lengths in SHAPE.findall(shape)
    )


def read_entry(text: str) -> list[tuple[str, str, str, int, int]]:
    """Reads the entry computation of a compiled program.

    Returns:
      (operation, name, result, bytes of the result, bytes of the operands) of each instruction that moves data.
    """
    lines = iter(text[text.index("\nENTRY ") :].splitlines()[2:])
    sizes: dict[str, int] = {}
    found = []
    for line in lines:
        if line.startswith("}"):
            break
        if match := INSTRUCTION.match(line):
            name, result, operation, rest = match.groups()
            sizes[name] = bytes_of(result)
            operands = re.findall(r"%([\w.-]+)", rest.split("), ")[0])
            if operation not in FREE:
                found.append((operation, name, result, sizes[name], sum(sizes.get(each, 0) for each in operands)))
    return found


def measure(name: str, program: str, config: ConfigDict) -> dict[str, Any]:
    """Compiles one program for one target and reads what stands in it."""
    target, (kind, dtype, *options) = TARGETS[name], program.split("-")
    config = config.copy_and_resolve_references()
    config.model.dtype, config.model.remat = dtype, "remat" in options
    settings = {"target_config": H100} if target.platform == "cuda" else {"platform": "tpu"}
    settings["platform"] = target.platform
    label = {"topology": target.topology} if target.platform == "cuda" else {"topology_name": target.topology}
    devices: list[Any] = topologies.get_topology_desc(**settings, **label).devices
    each = target.pairs * (8 if kind == "inference" and target.pairs == 1 else 1)
    config.batch_size = each * len(devices)
    function, arguments, results = make_program(config, kind, config.batch_size)
    parts = (PartitionSpec(), PartitionSpec(parallel.AXIS))

    def shard(devices):
        mesh = Mesh(devices, (parallel.AXIS,))
        return jax.shard_map(function, mesh=mesh, in_specs=parts, out_specs=results, check_vma=False)

    start = time.perf_counter()
    donated = 0 if kind != "inference" else ()
    traced = jax.jit(shard(devices), donate_argnums=donated).trace(*arguments)
    flop = count_flop(traced.jaxpr.jaxpr)
    compiled = traced.lower().compile()
    seconds, memory, entry = time.perf_counter() - start, compiled.memory_analysis(), read_entry(compiled.as_text())
    traffic = sum(written + read for _, _, _, written, read in entry)
    if target.platform == "tpu":
        traffic = compiled.cost_analysis()["bytes accessed"]
    moved = [row for row in entry if row[0].removesuffix("-start") in COLLECTIVES]
    compute, transfer = flop / target.peak[dtype] / 1e9, traffic / target.bandwidth / 1e6
    arguments_gib, temporary = memory.argument_size_in_bytes / 2**30, memory.temp_size_in_bytes / 2**30
    row = {
        "devices": len(devices), "examples": each, "arguments": arguments_gib, "temporary": temporary,
        "fits": arguments_gib + temporary < target.memory, "tflop": flop / 1e12, "traffic": traffic / 1e9,
        "collectives": len(moved), "collective_gb": sum(each[3] for each in moved) / 1e9, "instructions": len(entry),
        "least_ms": max(compute, transfer), "bound": "compute" if compute > transfer else "memory",
        "utilisation": compute / max(compute, transfer), "compile_s": seconds,
    }  # fmt: skip
    largest = sorted(entry, key=lambda row: -row[3] - row[4])[:20]
    row["largest"] = [
        {"gb": (written + read) / 1e9, "operation": operation, "name": label, "result": result[:120]}
        for operation, label, result, written, read in largest
    ]
    here = [device for device in jax.devices() if device.device_kind == devices[0].device_kind]
    if len(here) == len(devices):
        row["measured_ms"] = milliseconds(shard(here), arguments)
    return row


def milliseconds(function: Any, shapes: tuple) -> float:
    """Times a program on zeros."""
    function, zeros = jax.jit(function), jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    jax.block_until_ready(function(*zeros))
    start = time.perf_counter()
    for _ in range(10):
        result = function(*zeros)
    jax.block_until_ready(result)
    return 100 * (time.perf_counter() - start)


def table_row(target: str, program: str, row: dict[str, Any]) -> str:
    """Formats one line of the table in Markdown."""
    measured = f"{row['measured_ms']:.1f}" if "measured_ms" in row else ""
    return (
        f"| {target} | {program} | {row['examples']} | {row['arguments']:.2f} + {row['temporary']:.2f} "
        f"| {'yes' if row['fits'] else 'no'} | {row['tflop']:.1f} | {row['traffic']:.1f} | {row['collectives']} "
        f"| {row['collective_gb']:.2f} | {row['instructions']} | {row['least_ms']:.1f} ({row['bound']}) "
        f"| {100 * row['utilisation']:.0f} | {measured} |"
    )


HEADER = (
    "| target | program | examples a device | GiB, arguments + temporary | fits | TFLOP | traffic, GB | collectives "
    "| GB | instructions | least ms | utilisation, % | measured ms |\n"
    f"| --- | --- |{' ---: |' * 11}"
)


def main() -> None:
    """Prints the table and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/davis16.py", help="a file of configs/ (the paper's)")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--json", type=Path, help="file for the results, with the largest instructions of each")
    arguments, overrides = parser.parse_known_args()
    config = read_config(arguments.config, overrides)
    jobs = [(target, program) for target in arguments.targets for program in arguments.programs]
    results = {}
    print(f"{arguments.config}, JAX {jax.__version__}; compiled and not run on a chip, but where a time is measured")
    print(HEADER)
    for target, program in track(jobs, "compiling"):
        results[f"{target} {program}"] = row = measure(target, program, config)
        print(table_row(target, program, row), flush=True)
    if arguments.json:
        write_json(arguments.json, {"config": arguments.config, "overrides": overrides}, results)


if __name__ == "__main__":
    main()
