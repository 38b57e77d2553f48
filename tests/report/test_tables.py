"""Tables: their cells, and the paper's scores in them."""

import pytest

from cosnet_jax.report import paper
from cosnet_jax.report.tables import (
    MISSING,
    PAPER_LABEL,
    THIS_RUN,
    Table,
    category_table,
    methods_table,
    percent,
    references_table,
    score_table,
    sequence_table,
    variants_table,
)

RESULTS = {
    "dataset": "davis16",
    "J": {"mean": 0.7251, "recall": 0.9, "decay": -0.0123},
    "F": {"mean": 0.7, "recall": 0.8, "decay": 0.05},
    "T": {"mean": None, "sequences": []},
    "per_sequence": {"camel": {"J": 0.7, "J_recall": 1.0, "J_decay": 0.0, "T": None}, "cows": {"J": 0.75, "T": 0.1}},
}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.805, "80.5"),
        (1.0, "100.0"),
        (0.0, "0.0"),
        (-0.0, "0.0"),
        (-0.0123, "−1.2"),
        (None, MISSING),
        (0.12345, "12.3"),
    ],
)
def test_percent(value, text):
    assert percent(value) == text


def test_percent_digits():
    assert percent(0.80527, 2) == "80.53"


def test_markdown():
    table = Table(["", "J"], [["a|b", "1.0"], ["c", "2.0"]], caption="Percent.")
    expected = "|  | J |\n| --- | ---: |\n| a\\|b | 1.0 |\n| c | 2.0 |\n\nPercent.\n"
    assert table.to_markdown() == expected


def test_scores_stand_above_those_of_the_paper():
    table = score_table({"mine": RESULTS})
    assert table.columns == ["", "J mean", "J recall", "J decay", "F mean", "F recall", "F decay", "T mean"]
    assert table.rows == [
        ["mine", "72.5", "90.0", "−1.2", "70.0", "80.0", "5.0", MISSING],
        [PAPER_LABEL, "80.5", "94.0", "0.0", "79.4", "90.4", "0.0", "31.9"],
    ]
    assert table.quoted == {1}
    assert table.caption.endswith("decay and T.")


def test_scores_of_several_runs_on_another_dataset():
    runs = {name: {"dataset": "synthetic", "J": {"mean": mean}} for name, mean in (("a", 0.5), ("b", 0.25))}
    table = score_table(runs)
    assert (table.columns, table.rows, table.quoted) == (["", "J mean"], [["a", "50.0"], ["b", "25.0"]], frozenset())
    assert "T" not in table.caption


def test_only_measures_of_the_runs_are_shown():
    table = score_table({"mine": {"dataset": "davis16", "J": {"mean": 0.5}}})
    assert table.rows == [["mine", "50.0"], [PAPER_LABEL, "80.5"]]


def test_sequences():
    table = sequence_table(RESULTS)
    assert table.columns == ["sequence", "J mean", "J recall", "J decay", "T"]
    assert table.rows == [["camel", "70.0", "100.0", "0.0", MISSING], ["cows", "75.0", MISSING, MISSING, "10.0"]]


def test_methods_are_sorted_by_mean_j():
    table = methods_table(RESULTS)
    names = [row[0] for row in table.rows]
    assert names[0] == THIS_RUN  # 72.5 is below all of them
    assert names.index(PAPER_LABEL) == names.index("AGS") + 1
    assert table.quoted == set(range(1, len(names)))
    assert len(names) == len(paper.OTHER_METHODS) + 2


def test_categories_with_both_averages():
    results = {
        "J": {"mean": 0.6},
        "per_category": {"cat": {"J": 0.5}, "train": {"J": 0.75}},
        "over_categories": {"J": {"mean": 0.625}},
    }
    table = category_table(results)
    assert table.rows == [
        ["cat", "50.0", "66.5"],
        ["train", "75.0", "46.8"],
        ["mean of categories", "62.5", "70.1"],
        ["mean of videos", "60.0", "70.5"],
    ]
    assert table.totals == 2


def test_references():
    table = references_table({5: 0.74, 0: 0.6, 3: 0.7}, "davis16")
    assert table.columns == ["", "N = 0", "N = 3", "N = 5"]
    assert table.rows == [["mean J", "60.0", "70.0", "74.0"], [PAPER_LABEL, "71.3", MISSING, "80.5"]]
    assert len(references_table({0: 0.5}, "synthetic").rows) == 1


def test_variants():
    table = variants_table({"summary": 0.74, "prediction": 0.73, "group": 0.75}, "davis16")
    assert table.rows == [["summary", "74.00", "80.50"], ["prediction", "73.00", "79.50"], ["group", "75.00", MISSING]]
    assert variants_table({"summary": 0.74}, "synthetic").columns == ["variant", "mean J"]


def test_the_papers_tables_agree_with_each_other():
    for dataset, scores in paper.SCORES.items():
        assert paper.ABLATION[dataset]["symmetric"] == scores["J"]["mean"] == paper.REFERENCES[dataset][5]
