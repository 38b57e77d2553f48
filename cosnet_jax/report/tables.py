"""Tables of scores, for Markdown and for the HTML page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from cosnet_jax.report import paper

NOTHING = "–"
STATISTICS = ("mean", "recall", "decay")
PAPER_LABEL = "COSNet, as printed in the paper"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
      columns: the heads; the first column holds the names of the rows.
      rows: one text a column.
      quoted: indices of the rows that show figures of others (printed fainter).
      caption: one sentence, or "".
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    quoted: frozenset[int] = frozenset()
    caption: str = ""

    def markdown(self) -> str:
        """Returns the table as GitHub-flavoured Markdown, numbers right-aligned."""
        lines = [self.columns, ["---"] + ["---:"] * (len(self.columns) - 1), *self.rows]
        text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"{text}\n\n{self.caption}\n" if self.caption else f"{text}\n"


def percent(value: float | None, digits: int = 1) -> str:
    """Writes a score in [0, 1] as the paper does: 0.805 as 80.5."""
    if value is None:
        return NOTHING
    return f"{100 * value + 0.0:.{digits}f}".replace("-", "−")


def score_table(runs: Mapping[str, Mapping], dataset: str | None = None) -> Table:
    """Lays out one or more results like the paper's Table 3, above the paper's own figures where there are any.

    Args:
      runs: label -> contents of a `results.json`.
      dataset: whose figures in the paper to add; None for the dataset of the runs.
    """
    runs = dict(runs)
    if dataset is None:
        datasets = {results["dataset"] for results in runs.values()}
        dataset = datasets.pop() if len(datasets) == 1 else ""
    printed = paper.SCORES.get(dataset)
    lines = [*runs.items(), *([(PAPER_LABEL, printed)] if printed else [])]
    shown = [
        (metric, statistic)
        for metric in ("J", "F", "T")
        for statistic in STATISTICS
        if any(statistic in results.get(metric, {}) for results in runs.values())
    ]
    rows = [
        [label, *(percent(results.get(metric, {}).get(statistic)) for metric, statistic in shown)]
        for label, results in lines
    ]
    lower = " and T" if ("T", "mean") in shown else ""
    return Table(
        ["", *(f"{metric} {statistic}" for metric, statistic in shown)],
        rows,
        frozenset({len(runs)} if printed else ()),
        f"Percent. Higher is better, but for decay{lower}.",
    )


def methods_table(results: Mapping, label: str = "this run") -> Table:
    """Sorts a result on DAVIS-2016 val in among those that other methods report, by mean J."""
    others = dict(paper.OTHER_METHODS)
    others[PAPER_LABEL] = tuple(paper.SCORES["davis16"][metric]["mean"] for metric in ("J", "F"))
    lines = [(name, *scores, True) for name, scores in others.items()]
    lines.append((label, *(results.get(metric, {}).get("mean") for metric in ("J", "F")), False))
    lines.sort(key=lambda line: line[1])
    rows = [[name, percent(j), percent(f)] for name, j, f, _ in lines]
    quoted = frozenset(i for i, line in enumerate(lines) if line[3])
    caption = "Percent, as the authors report them for all 20 sequences. Most of the later methods need optical flow."
    return Table(["", "J mean", "F mean"], rows, quoted, caption)


def sequence_table(results: Mapping) -> Table:
    """Lists every sequence of a `results.json` with its scores, in percent."""
    per_sequence = results["per_sequence"]
    keys = [key for key in ("J", "J_recall", "J_decay", "F", "F_recall", "F_decay", "T") if key in _all_keys(results)]
    heads = [key.replace("_", " ") if "_" in key or key == "T" else f"{key} mean" for key in keys]
    rows = [[name, *(percent(scores.get(key)) for key in keys)] for name, scores in per_sequence.items()]
    return Table(["sequence", *heads], rows)


def category_table(results: Mapping) -> Table:
    """Lays out a YouTube-Objects `results.json` like the paper's Table 5, both averages below, the paper's beside."""
    metrics = [metric for metric in ("J", "F") if metric in results]
    rows = [
        [category, *(percent(scores[metric]) for metric in metrics), percent(paper.YOUTUBE_OBJECTS[category])]
        for category, scores in results["per_category"].items()
    ]
    of_categories = sum(paper.YOUTUBE_OBJECTS.values()) / len(paper.YOUTUBE_OBJECTS)
    rows.append(
        ["mean of categories"]
        + [percent(results["over_categories"][metric]["mean"]) for metric in metrics]
        + [percent(of_categories)]
    )
    overall = paper.SCORES["youtube_objects"]["J"]["mean"]
    rows.append(["mean of videos", *(percent(results[metric]["mean"]) for metric in metrics), percent(overall)])
    caption = "Percent. The paper's mean of categories is computed from its table; its mean of videos is printed there."
    return Table(["category", *(f"{metric} mean" for metric in metrics), "J mean, paper"], rows, caption=caption)


def references_table(scores: Mapping[int, float], dataset: str) -> Table:
    """Lays out mean J for each number of references N like the paper's Table 2.

    Args:
      scores: N -> mean J in [0, 1].
      dataset: whose figures in the paper to add.
    """
    numbers = sorted(scores)
    rows = [["mean J", *(percent(scores[n]) for n in numbers)]]
    printed = paper.REFERENCES.get(dataset)
    if printed:
        rows.append([PAPER_LABEL, *(percent(printed.get(n)) for n in numbers)])
    return Table(["", *(f"N = {n}" for n in numbers)], rows, frozenset({1} if printed else ()), "Percent.")


def variants_table(scores: Mapping[str, float], dataset: str) -> Table:
    """Lays out mean J of variants (co-attentions, fusions, samplings) like the paper's Table 1.

    Args:
      scores: name as in the configuration, e.g. "symmetric", "prediction", "uniform" -> mean J in [0, 1].
      dataset: whose figures in the paper to add.
    """
    printed = paper.ABLATION.get(dataset, {})
    rows = [[name, percent(score, 2), percent(printed.get(name), 2)] for name, score in scores.items()]
    if not printed:
        return Table(["variant", "mean J"], [row[:2] for row in rows], caption="Percent.")
    return Table(["variant", "mean J", "mean J, paper"], rows, caption="Percent.")


def results_table(results: Mapping, label: str = "this run") -> str:
    """Returns the scores of a `results.json` and the paper's as Markdown, for a terminal or a README."""
    return score_table({label: results}).markdown()


def _all_keys(results: Mapping) -> set[str]:
    return {key for scores in results["per_sequence"].values() for key in scores}
