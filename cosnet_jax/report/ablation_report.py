"""The tables and the page of the ablations of inference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cosnet_jax.report import paper
from cosnet_jax.report.page import Section, write_page
from cosnet_jax.report.tables import PAPER_LABEL, Table, percent, references_table, variants_table
from cosnet_jax.visualization import plots


def printed(dataset: str) -> dict:
    """The paper's figures beside the results, by the same keys; {} for a dataset that is not in the paper."""
    if dataset not in paper.REFERENCES:
        return {}
    variants = paper.ABLATION[dataset]
    return {
        "num_references": {str(n): score for n, score in paper.REFERENCES[dataset].items()},
        "fusion": {name: variants[name] for name in ("summary", "prediction")},
        "sampling": {name: variants[name] for name in ("uniform", "random", "consecutive")},
    }


def tables(results: Mapping) -> dict[str, Table]:
    """The tables by their titles.

    Args:
      results: contents of `ablation.json`.
    """
    dataset = results["dataset"]
    of_n = {int(n): score for n, score in results["num_references"].items()}
    return {
        "Number of reference frames (the paper's Table 2)": references_table(of_n, dataset),
        "Fusion of 5 references (the paper's Table 1)": variants_table(results["fusion"], dataset),
        "Sampling of 5 references (the paper's Table 1)": variants_table(results["sampling"], dataset),
    }


def sequence_table(results: Mapping) -> Table:
    """Mean J of every sequence for each number of references."""
    runs = {
        str(run["num_references"]): run["per_sequence"]
        for run in results["settings"]
        if (run["sampling"], run["fusion"]) == ("uniform", "summary")
    }
    names = list(next(iter(runs.values())))
    rows = [[name, *(percent(scores[name]["J"]) for scores in runs.values())] for name in names]
    return Table(["sequence", *(f"N = {n}" for n in runs)], rows, caption="Mean J in percent.")


def markdown(results: Mapping) -> str:
    """All tables in Markdown, with a heading each."""
    about = f"{results['dataset']}, {results['split']}: {results['sequences']} sequences"
    parts = [f"# Ablations on {about}\n"]
    parts += [f"## {title}\n\n{table.markdown()}" for title, table in tables(results).items()]
    return "\n".join(parts)


def write_report(path: str | Path, title: str, results: Mapping, metadata: Mapping[str, object]) -> None:
    """Writes the page: the tables, J against N beside the paper's, and J of every sequence.

    Args:
      path: usually `OUT/report.html`.
      title: of the page.
      results: contents of `ablation.json`.
      metadata: what was compared, in pairs; dataset and size are added in front.
    """
    about = {"dataset": f"{results['dataset']}, {results['split']}", "sequences": results["sequences"], **metadata}
    sources = {"this run": results, PAPER_LABEL: results["paper"]}
    curves = {
        label: {int(n): score for n, score in source["num_references"].items()}
        for label, source in sources.items()
        if source
    }
    sections = [Section(title, [table]) for title, table in tables(results).items()]
    sections[0] = Section(sections[0].title, [*sections[0].blocks, plots.references_curve(curves)])
    sections.append(Section("Sequences", [sequence_table(results)]))
    write_page(path, title, about, sections)
