"""The report of the ablations of inference, as an HTML page and as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cosnet_jax.report import paper
from cosnet_jax.report.page import Section, write_page
from cosnet_jax.report.tables import PAPER_LABEL, Table, percent, references_table, variants_table
from cosnet_jax.visualization import plots


def paper_ablation(results: Mapping) -> dict:
    """Returns the paper's scores with the keys of `ablation.json`; {} for a dataset or split that is not in it."""
    dataset = paper.compared_with(results)
    if not dataset:
        return {}
    variants = paper.ABLATION[dataset]
    return {
        "num_references": {str(n): score for n, score in paper.REFERENCES[dataset].items()},
        "fusion": {name: variants[name] for name in ("summary", "prediction")},
        "sampling": {name: variants[name] for name in ("uniform", "random", "consecutive")},
    }


def ablation_tables(results: Mapping) -> dict[str, Table]:
    """Makes the tables of all ablations.

    Args:
      results: contents of `ablation.json`.

    Returns:
      Title -> table.
    """
    dataset = paper.compared_with(results)
    by_number = {int(n): score for n, score in results["num_references"].items()}
    return {
        "Number of reference frames (the paper's Table 2)": references_table(by_number, dataset),
        "Fusion of 5 references (the paper's Table 1)": variants_table(results["fusion"], dataset),
        "Sampling of 5 references (the paper's Table 1)": variants_table(results["sampling"], dataset),
    }


def references_per_sequence_table(results: Mapping) -> Table:
    """Makes a table of mean J of every sequence for each number of references."""
    runs = {
        str(run["num_references"]): run["per_sequence"]
        for run in results["settings"]
        if (run["sampling"], run["fusion"]) == ("uniform", "summary")
    }
    names = list(next(iter(runs.values())))
    rows = [[name, *(percent(scores[name]["J"]) for scores in runs.values())] for name in names]
    return Table(["sequence", *(f"N = {n}" for n in runs)], rows, caption="Mean J in percent.")


def ablation_markdown(results: Mapping) -> str:
    """Returns all tables in Markdown, each with a heading."""
    about = f"{results['dataset']}, {results['split']}: {results['sequences']} sequences"
    parts = [f"# Ablations on {about}\n"]
    parts += [f"## {title}\n\n{table.to_markdown()}" for title, table in ablation_tables(results).items()]
    return "\n".join(parts)


def write_ablation_report(path: str | Path, title: str, results: Mapping, metadata: Mapping[str, object]) -> None:
    """Writes the page: the tables, a curve of J against N with the paper's, and J of every sequence.

    Args:
      path: the file, usually `OUT/report.html`.
      title: the title of the page.
      results: contents of `ablation.json`.
      metadata: names and values of what was compared; the page lists dataset and size before them.
    """
    about = {"dataset": f"{results['dataset']}, {results['split']}", "sequences": results["sequences"], **metadata}
    sources = {"this run": results, PAPER_LABEL: results["paper"]}
    curves = {
        label: {int(n): score for n, score in source["num_references"].items()}
        for label, source in sources.items()
        if source
    }
    sections = [Section(title, [table]) for title, table in ablation_tables(results).items()]
    sections[0] = Section(sections[0].title, [*sections[0].blocks, plots.references_curve(curves)])
    sections.append(Section("Sequences", [references_per_sequence_table(results)]))
    write_page(path, title, about, sections)
