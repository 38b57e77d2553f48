"""The long run of the fault tests: prints how many damaged inputs and injected faults there were, and what was lost.

    python -m faults.soak [--inputs 100000] [--injections 1000] [--seed 0]

`make soak` runs it. Everything that failed is listed under the tables, with the number or seed that brings it back.
Exit status 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from faults.fuzzing import READ, REFUSED, Tally, fuzz
from faults.signals import inject_faults, send_signals
from faults.tally import Injected, print_table

# Kind of input -> its share of all inputs; kinds that take long to read get less.
SHARES = {
    "image": 20, "video": 10, "predicted mask": 20, "dataset image": 20, "listing": 10, ".pth": 10, "weights file": 4,
    "override": 4, "records": 1.5, "checkpoint folder": 0.5,
}  # fmt: skip
SIGNALS_PER_TRAINING = 3  # roughly; of all injections half are signals
FIRST_SEED = 10**9  # of the inputs of a seed


def soak_inputs(count: int, seed: int) -> list[Tally]:
    """Reads damaged inputs of every kind."""
    tallies = []
    for kind, share in SHARES.items():
        number = round(count * share / sum(SHARES.values()))
        tallies += fuzz([(kind, FIRST_SEED * seed, number)], max_failures=50)
        print(f"{kind}: {tallies[-1].tried} of {number} tried, {len(tallies[-1].failures)} failed", file=sys.stderr)
    return tallies


def soak_trainings(count: int, seed: int) -> dict[str, Injected]:
    """Injects faults into trainings, half of them from within and half of them signals."""
    with tempfile.TemporaryDirectory(prefix="soak_") as folder:
        results = inject_faults(Path(folder), count // 2, seed)
        return results | send_signals(Path(folder), max(count // 2 // SIGNALS_PER_TRAINING, 1), seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--injections", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    tallies = soak_inputs(arguments.inputs, arguments.seed) if arguments.inputs else []
    injected = soak_trainings(arguments.injections, arguments.seed) if arguments.injections else {}
    rows = [
        (tally.kind, tally.tried, tally.outcomes[READ], tally.outcomes[REFUSED], len(tally.failures),
         tally.most_bytes >> 20) for tally in tallies
    ]  # fmt: skip
    totals = [sum(row[column] for row in rows) for column in range(1, 5)]
    print_table(("input", "tried", "read", "refused", "failed", "most MiB"), [*rows, ("all", *totals, "")])
    print()
    faults = [(name, one.injected, one.injected - len(one.losses), len(one.losses)) for name, one in injected.items()]
    totals = [sum(row[column] for row in faults) for column in range(1, 4)]
    print_table(("fault", "injected", "survived", "lost"), [*faults, ("all", *totals)])
    problems = [f"{tally.kind} {number}: {what}" for tally in tallies for number, what in tally.failures]
    problems += [f"{name}, {loss}" for name, one in injected.items() for loss in one.losses]
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
