"""The long run: damaged inputs, trainings killed at any moment, and what a long work holds of memory and files.

    python tests/soak.py [--inputs 20000] [--kills 50] [--clips 300] [--seed 0]

`make soak` runs it. A damaged file must be read or refused within a minute and 1.5 GiB. A training that is killed again
and again must end with the very parameters of one that was not. A segmenter must not hold more after many clips.
Everything that failed is listed in the end, with the seed that brings it back; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "helpers")]

SECONDS, MEMORY_MIB = 60, 1536  # that one damaged input may take
COMMAND = (
    "--config=configs/synthetic.py:smoke", "--config.total_steps=12", "--config.checkpoint_every=1",
    "--config.log_every=1", "--config.validate_every=6", "--config.step_pattern=video",
)  # fmt: skip


def read_damaged(kind: str, first: int, last: int, folder: str) -> None:
    """Reads damaged inputs in a process of its own, which tells the number of each before it reads it."""
    from damaged import INPUTS, damage, read_or_refuse

    make, read = INPUTS[kind]
    sound = make(Path(folder))
    data = sound.read_bytes()
    for seed in range(first, last):
        print(seed, flush=True)
        signal.alarm(SECONDS)  # ends the process
        read_or_refuse(read, sound, damage(data, random.Random(seed)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        if peak > MEMORY_MIB:
            raise MemoryError(f"took {peak} MiB")


def soak_inputs(count: int, seed: int) -> Iterator[str]:
    """Yields what went wrong with damaged inputs of every kind."""
    from damaged import INPUTS

    for kind in INPUTS:
        first = seed * 10**9
        last = first + count // len(INPUTS)
        while first < last:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, __file__, "--read", kind, str(first), str(last), folder]
                done = subprocess.run(command, capture_output=True, text=True, errors="replace")
            if done.returncode == 0:
                break
            at, errors = int(done.stdout.split()[-1]), done.stderr.strip().splitlines()[-1:]
            yield f"{kind} {at}: ended with status {done.returncode} {errors}"
            first = at + 1
        print(f"{kind}: {count // len(INPUTS)} damaged inputs", file=sys.stderr)


def parameters(workdir: Path) -> dict[str, bytes]:
    """The arrays of the newest checkpoint of a training, by name."""
    import jax

    from cosnet_jax.checkpoints.load import load_checkpoint
    from cosnet_jax.models.parameters import named_leaves

    variables, _ = load_checkpoint(workdir / "checkpoints")
    return {name: bytes(jax.device_get(leaf)) for name, leaf in named_leaves(variables).items()}


def train(workdir: Path, data: Path, seconds: float | None = None) -> int | None:
    """Trains in a process of its own; kills it after some seconds. Returns its exit status, None if it was killed."""
    command = [sys.executable, "train.py", *COMMAND, f"--workdir={workdir}", f"--config.data.data_dir={data}"]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(data / "compiled")}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def soak_kills(count: int, seed: int) -> Iterator[str]:
    """Yields what was lost by trainings that were killed at any moment until they were done."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, rng, killed, trained = Path(temporary), random.Random(seed), 0, 0
        train(folder / "first", folder)  # compiles
        start = time.monotonic()
        if status := train(folder / "undisturbed", folder):
            yield f"a training ended with status {status}"
            return
        seconds, expected = time.monotonic() - start, parameters(folder / "undisturbed")
        while killed < count:
            workdir, trained = folder / f"killed{trained}", trained + 1
            while (status := train(workdir, folder, rng.uniform(0.2, 1.1) * seconds)) is None:
                killed += 1
            if status or parameters(workdir) != expected:
                yield f"training {trained} of seed {seed}: status {status}, or other parameters"
        print(f"{killed} kills of {trained} trainings", file=sys.stderr)


def soak_clips(count: int) -> Iterator[str]:
    """Yields what a segmenter holds more of after many clips than after the first tenth of them."""
    import numpy as np
    from tiny_network import random_variables, tiny_network

    from cosnet_jax.inference.segmenter import Segmenter

    def held() -> tuple[int, int]:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() >> 20, len(os.listdir("/proc/self/fd"))

    model = tiny_network()
    segmenter, rng = Segmenter(model, random_variables(model), size=(33, 41)), np.random.default_rng(0)
    before = held()
    for number in range(count):
        segmenter(rng.integers(0, 256, (6, 48, 64, 3), np.uint8))
        if number == count // 10:
            before = held()
    (memory, files), after = before, held()
    if after[0] > memory + 48 or after[1] > files + 4:
        yield f"{count} clips: memory from {memory} to {after[0]} MiB, open files from {files} to {after[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000, help="damaged inputs of all kinds")
    parser.add_argument("--kills", type=int, default=50, help="of trainings")
    parser.add_argument("--clips", type=int, default=300, help="that are segmented while memory is measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--read", nargs=4, help=argparse.SUPPRESS)  # what `soak_inputs` runs
    arguments = parser.parse_args()
    if arguments.read:
        kind, first, last, folder = arguments.read
        read_damaged(kind, int(first), int(last), folder)
        return 0
    problems = [
        *soak_inputs(arguments.inputs, arguments.seed),
        *(soak_kills(arguments.kills, arguments.seed) if arguments.kills else ()),
        *(soak_clips(arguments.clips) if arguments.clips else ()),
    ]
    print("\n".join(problems) or "nothing was lost")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
