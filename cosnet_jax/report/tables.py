"""Tables of scores, for Markdown and for the HTML page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from cosnet_jax.evaluation.statistics import STATISTICS
from cosnet_jax.report import paper

MISSING = "–"
PAPER_LABEL = "COSNet, as printed in the paper"
THIS_RUN = "this run"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
      columns: the headings; the first column holds the names of the rows.
      rows: one text per column.
      quoted: indices of the rows with scores that others report (shown in a softer colour).
      caption: one sentence, or "".
      totals: number of rows at the end that sum up the others; they stay there when a reader of the page sorts it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    quoted: frozenset[int] = frozenset()
    caption: str = ""
    totals: int = 0

    def to_markdown(self) -> str:
        """Returns the table as GitHub-flavoured Markdown with right-aligned numbers."""
        lines = [self.columns, ["---"] + ["---:"] * (len(self.columns) - 1), *self.rows]
        text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"{text}\n\n{self.caption}\n" if self.caption else f"{text}\n"


def percent(value: float | None, digits: int = 1) -> str:
    """Formats a score in [0, 1] in percent as the paper does (0.805 is "80.5"), and None as a dash."""
    if value is None:
        return MISSING
    return f"{100 * value + 0.0:.{digits}f}".replace("-", "−")  # + 0.0 turns -0.0 into 0.0


def score_table(runs: Mapping[str, Mapping]) -> Table:
    """Makes a table of scores like the paper's Table 3, with the paper's own scores in the last row.

    Args:
      runs: label -> contents of a `results.json`.

    Returns:
      The table. It has no row of the paper where the paper has no scores on the dataset and split of all runs.
    """
    datasets = {paper.compared_with(results) for results in runs.values()}
    paper_scores = paper.SCORES.get(datasets.pop()) if len(datasets) == 1 else None
    labelled = [*runs.items(), *([(PAPER_LABEL, paper_scores)] if paper_scores else [])]
    shown = [
        (metric, statistic)
        for metric in ("J", "F", "T")
        for statistic in STATISTICS
        if any(statistic in results.get(metric, {}) for results in runs.values())
    ]
    rows = [
        [label, *(percent(results.get(metric, {}).get(statistic)) for metric, statistic in shown)]
        for label, results in labelled
    ]
    lower_is_better = "decay and T" if ("T", "mean") in shown else "decay"
    return Table(
        ["", *(f"{metric} {statistic}" for metric, statistic in shown)],
        rows,
        frozenset({len(runs)} if paper_scores else ()),
        f"Percent. Higher is better, except for {lower_is_better}.",
    )


def methods_table(results: Mapping) -> Table:
    """Makes a table of this result on DAVIS-2016 val and those that other methods report, in the order of mean J.

    Args:
      results: contents of a `results.json` with J.
    """
    scores: dict[str, tuple[float, float | None]] = dict(paper.OTHER_METHODS)
    scores[PAPER_LABEL] = paper.SCORES["davis16"]["J"]["mean"], paper.SCORES["davis16"]["F"]["mean"]
    scores[THIS_RUN] = results["J"]["mean"], results.get("F", {}).get("mean")
    names = sorted(scores, key=lambda name: scores[name][0])
    rows = [[name, *map(percent, scores[name])] for name in names]
    quoted = frozenset(i for i, name in enumerate(names) if name != THIS_RUN)
    caption = "Percent, as the authors report them for all 20 sequences. Most of the later methods need optical flow."
    return Table(["method", "J mean", "F mean"], rows, quoted, caption)


def sequence_table(results: Mapping, links: Mapping[str, str] | None = None) -> Table:
    """Makes a table of the scores of every sequence of a `results.json`; `links` are shown in place of their names."""
    per_sequence = results["per_sequence"]
    known = {key for scores in per_sequence.values() for key in scores}
    keys = [key for key in ("J", "J_recall", "J_decay", "F", "F_recall", "F_decay", "T") if key in known]
    headings = [f"{key} mean" if key in ("J", "F") else key.replace("_", " ") for key in keys]
    links = links or {}
    rows = [
        [links.get(name, name), *(percent(scores.get(key)) for key in keys)] for name, scores in per_sequence.items()
    ]
    return Table(["sequence", *headings], rows)


def category_table(results: Mapping) -> Table:
    """Makes a table of a YouTube-Objects `results.json` like the paper's Table 5.

    The last column has the paper's J, the last two rows have the average over categories and the average over videos.
    """
    metrics = [metric for metric in ("J", "F") if metric in results]
    rows = [
        [category, *(percent(scores[metric]) for metric in metrics), percent(paper.YOUTUBE_OBJECTS[category])]
        for category, scores in results["per_category"].items()
    ]
    paper_mean = sum(paper.YOUTUBE_OBJECTS.values()) / len(paper.YOUTUBE_OBJECTS)
    rows.append(
        ["mean of categories"]
        + [percent(results["over_categories"][metric]["mean"]) for metric in metrics]
        + [percent(paper_mean)]
    )
    paper_mean = paper.SCORES["youtube_objects"]["J"]["mean"]
    rows.append(["mean of videos", *(percent(results[metric]["mean"]) for metric in metrics), percent(paper_mean)])
    caption = "Percent. The paper's mean of categories is computed from its table; its mean of videos is printed there."
    columns = ["category", *(f"{metric} mean" for metric in metrics), "J mean, paper"]
    return Table(columns, rows, caption=caption, totals=2)


def references_table(scores: Mapping[int, float], dataset: str) -> Table:
    """Makes a table of mean J for each number of references N, like the paper's Table 2.

    Args:
      scores: N -> mean J in [0, 1].
      dataset: the dataset whose scores in the paper are added, see `paper.compared_with`.
    """
    numbers = sorted(scores)
    rows = [["mean J", *(percent(scores[n]) for n in numbers)]]
    paper_scores = paper.REFERENCES.get(dataset)
    if paper_scores:
        rows.append([PAPER_LABEL, *(percent(paper_scores.get(n)) for n in numbers)])
    return Table(["", *(f"N = {n}" for n in numbers)], rows, frozenset({1} if paper_scores else ()), "Percent.")


def variants_table(scores: Mapping[str, float], dataset: str) -> Table:
    """Makes a table of mean J for variants (co-attentions, fusions, samplings), like the paper's Table 1.

    Args:
      scores: name as in the configuration, e.g. "symmetric", "prediction", "uniform" -> mean J in [0, 1].
      dataset: the dataset whose scores in the paper are added, see `paper.compared_with`.
    """
    paper_scores = paper.ABLATION.get(dataset, {})
    rows = [[name, percent(score, 2), percent(paper_scores.get(name), 2)] for name, score in scores.items()]
    if not paper_scores:
        return Table(["variant", "mean J"], [row[:2] for row in rows], caption="Percent.")
    return Table(["variant", "mean J", "mean J, paper"], rows, caption="Percent.")


def notes(results: Mapping) -> list[str]:
    """Says what a reader of the scores must know: frames with nothing to find, masks left out, sequences in T."""
    said = []
    if results.get("empty"):
        said.append(f"{results['empty']} evaluated frames have no foreground; an empty prediction has J 100 there")
    if others := results.get("not_scored"):
        names = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        said.append(f"{len(others)} folders of masks belong to no scored sequence: {names}")
    if "T" in results:
        said.append(f"T is averaged over {len(results['T']['sequences'])} of {results['sequences']} sequences")
    return said
