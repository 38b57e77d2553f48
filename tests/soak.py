"""The long run: damaged inputs, trainings killed at any moment, and what a long work holds of memory and files.

    python tests/soak.py [--inputs 20000] [--kills 50] [--clips 300] [--seed 0]

`make soak` runs it. A damaged file must be read or refused within a minute and 1.5 GiB. A training that is killed again
and again must end with the very parameters of one that was not. A segmenter must not hold more after many clips.
Everything that failed is listed in the end, with the seed that brings it back; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import random
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


def read_damaged(kind: str, seeds: range, folder: str, queue: multiprocessing.Queue) -> None:
    """Reads damaged inputs in a process of its own, and tells the number of each before it reads it."""
    from damaged import INPUTS, damage, read_or_refuse

    make, read = INPUTS[kind]
    sound = make(Path(folder))
    data = sound.read_bytes()
    for seed in seeds:
        queue.put((seed, ""))
        try:
            read_or_refuse(read, sound, damage(data, random.Random(seed)))
        except Exception as error:
            queue.put((seed, f"{type(error).__name__}: {error}"[:300]))
    queue.put((seeds.stop, ""))


def memory_of(process: int) -> int:
    """Resident memory of a process in MiB; 0 where the system does not tell."""
    status = Path(f"/proc/{process}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) >> 10 for line in lines if line.startswith("VmRSS")), 0)


def soak_inputs(count: int, seed: int) -> Iterator[str]:
    """Yields what went wrong with damaged inputs of every kind."""
    from damaged import INPUTS

    context = multiprocessing.get_context("spawn")
    for kind in INPUTS:
        start, stop = seed * 10**9, seed * 10**9 + count // len(INPUTS)
        while start < stop:
            queue = context.Queue()
            with tempfile.TemporaryDirectory() as folder:
                process = context.Process(target=read_damaged, args=(kind, range(start, stop), folder, queue))
                process.start()
                at, since, problem = start, time.monotonic(), ""
                while not problem and (process.is_alive() or not queue.empty()):
                    while not queue.empty():
                        number, message = queue.get()
                        if message:
                            yield f"{kind} {number}: {message}"
                        if number != at:
                            at, since = number, time.monotonic()
                    if time.monotonic() - since > SECONDS:
                        problem = f"not done after {SECONDS} s"
                    elif memory_of(process.pid) > MEMORY_MIB:
                        problem = f"takes more than {MEMORY_MIB} MiB"
                    time.sleep(0.05)
                process.kill()
                process.join()
            if at < stop:
                yield f"{kind} {at}: {problem or f'the process ended with status {process.exitcode}'}"
            start = at + 1 if at < stop else stop
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
        return memory_of(os.getpid()), len(os.listdir("/proc/self/fd"))

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
    arguments = parser.parse_args()
    problems = []
    for problem in soak_inputs(arguments.inputs, arguments.seed):
        problems.append(problem)
    if arguments.kills:
        problems += soak_kills(arguments.kills, arguments.seed)
    if arguments.clips:
        problems += soak_clips(arguments.clips)
    print("\n".join(problems) or "nothing was lost")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
