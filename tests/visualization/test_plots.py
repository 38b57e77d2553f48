"""Figures: that they show the numbers given, and that their SVG can stand in a page."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from cosnet_jax.visualization import plots

PER_SEQUENCE = {"low": {"J": 0.2, "F": 0.9, "T": None}, "high": {"J": 0.8, "F": 0.1, "T": 0.3}}


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_bars_show_the_scores_best_sequence_first():
    figure = plots.sequence_bars(PER_SEQUENCE)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["high", "low"]
    widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    assert widths == [pytest.approx([80, 20]), pytest.approx([10, 90])]
    assert legend(figure) == ["J", "F"]
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first sequence is at the top
    bars = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bars in axes.containers for bar in bars)
    assert all(low[1] <= high[0] for low, high in itertools.pairwise(bars))


def test_frame_curves():
    figure = plots.frame_curves({"camel": [0.5, 0.75, 1.0]})
    (line,) = figure.axes[0].lines
    np.testing.assert_allclose(line.get_xydata(), [(1, 50), (2, 75), (3, 100)])


def test_references_curve_sorts_numbers():
    figure = plots.references_curve({"run": {5: 0.8, 0: 0.6, 1: 0.7}, "paper": {0: 0.5, 7: 0.9}})
    run, paper = figure.axes[0].lines
    np.testing.assert_allclose(run.get_xydata(), [(0, 60), (1, 70), (5, 80)])
    np.testing.assert_allclose(paper.get_xydata(), [(0, 50), (7, 90)])
    assert figure.axes[0].get_xticks().tolist() == [0, 1, 5, 7]


RECORDS = [
    {"step": 10, "kind": "still", "loss": 1.0},
    {"step": 10, "kind": "video", "loss": 4.0, "side": 2.0},
    {"step": 20, "kind": "validation", "J": 0.25},
    {"step": 20, "kind": "video", "loss": 2.0, "side": 1.0},
    {"step": 40, "kind": "validation", "J": 0.5, "J_single_frame": 0.3},
]


def test_training_curves_are_one_a_kind_of_step():
    figure = plots.training_curves(RECORDS)
    still, video = figure.axes[0].lines
    np.testing.assert_allclose(still.get_xydata(), [(10, 1)])
    np.testing.assert_allclose(video.get_xydata(), [(10, 4), (20, 2)])
    assert legend(figure) == ["still", "video"]
    assert plots.training_curves(RECORDS[2:3]) is None


def test_validation_curves():
    figure = plots.validation_curves(RECORDS, {"J": "all", "J_single_frame": "alone", "F": "boundary"})
    together, alone = figure.axes[0].lines
    np.testing.assert_allclose(together.get_xydata(), [(20, 25), (40, 50)])
    np.testing.assert_allclose(alone.get_xydata(), [(40, 30)])
    assert legend(figure) == ["all", "alone"]
    assert plots.validation_curves(RECORDS[:2], {"J": "all"}) is None


def test_svg_takes_the_colours_of_the_page():
    text = plots.svg(plots.sequence_bars(PER_SEQUENCE))
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "viewBox" in root.attrib
    assert "height" not in root.attrib
    assert plots.INK not in text
    assert plots.FAINT not in text
    assert "currentColor" in text
    assert "var(--rule" in text
    assert "high" in [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_any_name_can_stand_in_a_figure():
    names = {"_hidden": " _hidden", "$x$ \\frac": "$x$ \\frac", "a\n\x1b": "a\\n\\x1b", "\udcff": "\\udcff", "💩": "💩"}
    names["0123456789" * 9] = f"{'0123456789' * 2}…{'123456789' + '0123456789'}"
    bars = plots.sequence_bars({name: {"J": 0.5} for name in names})
    assert [label.get_text() for label in bars.axes[0].get_yticklabels()] == list(names.values())
    curves = plots.frame_curves({name: [0.5, 0.6] for name in names})
    assert legend(curves) == list(names.values())
    for figure in (bars, curves):
        root = ElementTree.fromstring(plots.svg(figure))
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        assert set(names.values()) <= set(texts)


def test_ids_of_two_figures_differ_and_every_reference_has_its_target():
    texts = [plots.svg(plots.frame_curves({"a": values})) for values in ([0.1, 0.2], [0.3, 0.4])]
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in texts]
    assert not ids[0] & ids[1]
    for text, known in zip(texts, ids, strict=True):
        used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
        assert used
        assert {a or b for a, b in used} <= known
