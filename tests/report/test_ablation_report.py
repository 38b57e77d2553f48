"""The tables and the page of the ablations, with the paper's scores."""

import pytest

from cosnet_jax.report.ablation_report import ablation_markdown, ablation_tables, paper_ablation, write_ablation_report
from cosnet_jax.report.tables import PAPER_LABEL


@pytest.fixture
def results():
    of_n = {"0": 0.6, "1": 0.65, "2": 0.67, "5": 0.7, "7": 0.71}
    run = {"sampling": "uniform", "fusion": "summary", "seed": 0}
    return {
        "dataset": "davis16",
        "split": "val",
        "sequences": 1,
        "num_references": of_n,
        "fusion": {"summary": 0.7, "prediction": 0.69},
        "sampling": {"uniform": 0.7, "random": 0.68, "consecutive": 0.66},
        "settings": [
            *({**run, "num_references": int(n), "per_sequence": {"camel": {"J": score}}} for n, score in of_n.items()),
            {**run, "num_references": 5, "fusion": "prediction", "per_sequence": {"camel": {"J": 0.69}}},
        ],
        "paper": paper_ablation({"dataset": "davis16"}),
    }


def test_tables_stand_beside_the_papers(results):
    of_n, fusion, sampling = ablation_tables(results).values()
    assert of_n.rows == [
        ["mean J", "60.0", "65.0", "67.0", "70.0", "71.0"],
        [PAPER_LABEL, "71.3", "77.6", "79.7", "80.5", "80.5"],
    ]
    assert fusion.columns[-1] == sampling.columns[-1] == "mean J, paper"
    assert fusion.rows == [["summary", "70.00", "80.50"], ["prediction", "69.00", "79.50"]]
    assert [row[1:] for row in sampling.rows] == [["70.00", "80.53"], ["68.00", "80.52"], ["66.00", "80.26"]]
    text = ablation_markdown(results)
    assert text.count("\n## ") == 3
    assert "| prediction | 69.00 | 79.50 |" in text


@pytest.mark.parametrize(("dataset", "split"), [("davis16", "val"), ("davis16", "train"), ("synthetic", "val")])
def test_page(results, tmp_path, dataset, split):
    results |= {"dataset": dataset, "split": split}
    results["paper"] = paper_ablation(results)
    write_ablation_report(tmp_path / "report.html", "Ablations", results, {"checkpoint": "there"})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 1
    assert (PAPER_LABEL in page) == (dataset == "davis16" and split == "val")
    for text in ("number of reference frames N", "consecutive", "camel", "there"):
        assert text in page


def test_the_papers_scores_have_the_same_keys(results):
    for name in ("num_references", "fusion", "sampling"):
        assert paper_ablation({"dataset": "fbms", "split": "test"})[name].keys() == results[name].keys()
    assert paper_ablation({"dataset": "synthetic"}) == {}
