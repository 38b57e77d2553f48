"""The long run of the fault tests: how many damaged inputs and injected faults there were, what was lost, what leaked.

    python -m faults.soak [--inputs 100000] [--injections 1000] [--steps 3000] [--clips 300] [--seed 0] [--folder DIR]

`make soak` runs it. With a folder the same command goes on with the injections of a run that was ended. Everything that
failed is listed under the tables, with the number or seed that brings it back.
Exit status 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from faults.fuzzing import READ, REFUSED, Tally, fuzz
from faults.tally import Injected, print_table
from faults.victims import inject, measure_resources

# Kind of input -> its share of all inputs; kinds that take long to read get less.
SHARES = {
    "image": 20, "video": 10, "predicted mask": 20, "dataset image": 20, "listing": 10, ".pth": 10, "weights file": 4,
    "override": 4, "records": 1.5, "checkpoint folder": 0.5,
}  # fmt: skip
FIRST_SEED = 10**9  # of the inputs of a seed


def soak_inputs(count: int, seed: int) -> list[Tally]:
    """Reads damaged inputs of every kind."""
    tallies = []
    for kind, share in SHARES.items():
        number = round(count * share / sum(SHARES.values()))
        tallies += fuzz([(kind, FIRST_SEED * seed, number)], max_failures=50)
        print(f"{kind}: {tallies[-1].tried} of {number} tried, {len(tallies[-1].failures)} failed", file=sys.stderr)
    return tallies


def report_inputs(tallies: list[Tally]) -> list[str]:
    """Prints the table of damaged inputs; returns what failed."""
    rows = [
        (tally.kind, tally.tried, tally.outcomes[READ], tally.outcomes[REFUSED], len(tally.failures),
         tally.most_bytes >> 20) for tally in tallies
    ]  # fmt: skip
    totals = [sum(row[column] for row in rows) for column in range(1, 5)]
    print_table(("input", "tried", "read", "refused", "failed", "most MiB"), [*rows, ("all", *totals, "")])
    return [f"{tally.kind} {number}: {what}" for tally in tallies for number, what in tally.failures]


def report_faults(injected: dict[str, Injected]) -> list[str]:
    """Prints the table of injected faults; returns what was lost."""
    rows = [(name, one.injected, one.injected - len(one.losses), len(one.losses)) for name, one in injected.items()]
    totals = [sum(row[column] for row in rows) for column in range(1, 4)]
    print_table(("fault", "injected", "survived", "lost"), [*rows, ("all", *totals)])
    return [f"{name}, {loss}" for name, one in injected.items() for loss in one.losses]


def report_resources(folder: Path, steps: int, clips: int) -> list[str]:
    """Measures a long training and many clips, and prints what their process held; returns what grew."""
    problems = []
    for work, found, problem in measure_resources(folder, steps, clips):
        shares = [f"{100 * number // (len(found) - 1)} %" for number in range(len(found))]
        rows = [(share, *held) for share, held in zip(shares, found, strict=True)]
        print_table((work, "memory MiB", "open files", "threads", "children"), rows)
        problems += [f"{work}: {problem}"] if problem else []
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--injections", type=int, default=1_000)
    parser.add_argument("--steps", type=int, default=3_000, help="of the training whose resources are measured")
    parser.add_argument("--clips", type=int, default=300, help="that are segmented while resources are measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the trainings and what happened to them (a temporary one)")
    arguments = parser.parse_args()
    problems = []
    if arguments.inputs:
        problems += report_inputs(soak_inputs(arguments.inputs, arguments.seed))
    with tempfile.TemporaryDirectory(prefix="soak_") as temporary:
        folder = (arguments.folder or Path(temporary)).absolute()
        if arguments.injections:
            problems += report_faults(inject(folder, arguments.injections, arguments.seed))
        if arguments.steps or arguments.clips:
            problems += report_resources(folder, arguments.steps, arguments.clips)
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
