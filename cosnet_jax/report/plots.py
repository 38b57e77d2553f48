"""Figures of the report, drawn without a display."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Mid-tones that read on white and on near-black alike.
COLOURS = ("#3b82c4", "#e0823d", "#4ba36b", "#b8628f", "#8a7fd1", "#9a8c4e")
INK, FAINT = "#010203", "#040506"  # stand for the page's own text and rule colours; `svg` puts those in
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "svg.fonttype": "none",
}


def sequence_bars(per_sequence: Mapping[str, Mapping[str, float]], metrics: Sequence[str] = ("J", "F")) -> Figure:
    """Draws the scores of every sequence as bars, the best sequence first.

    Args:
      per_sequence: sequence name -> metric -> score in [0, 1] (as in `results.json`).
      metrics: what to draw, of those that are there; the first one orders the sequences.

    Returns:
      A figure whose height grows with the number of sequences.
    """
    metrics = [metric for metric in metrics if all(metric in scores for scores in per_sequence.values())]
    names = sorted(per_sequence, key=lambda name: -per_sequence[name][metrics[0]]) if metrics else []
    with mpl.rc_context(STYLE):
        figure, axes = _figure(height=0.9 + (0.13 * len(metrics) + 0.12) * max(len(names), 1))
        height = 0.76 / max(len(metrics), 1)
        for k, metric in enumerate(metrics):
            values = [per_sequence[name][metric] for name in names]
            positions = np.arange(len(names)) + (k - (len(metrics) - 1) / 2) * height
            axes.barh(positions, values, height=height * 0.92, label=metric)
        axes.set_yticks(np.arange(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, 1)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _legend_above(axes)
    return figure


def frame_curves(curves: Mapping[str, Sequence[float]], metric: str = "J") -> Figure:
    """Draws a measure over the frames of a sequence.

    Args:
      curves: label -> one value in [0, 1] a frame.
      metric: name of the measure.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _figure()
        for label, values in curves.items():
            axes.plot(np.arange(1, len(values) + 1), values, label=label)
        axes.set_xlabel("frame")
        axes.set_ylabel(metric)
        axes.set_ylim(0, 1.02)
        axes.margins(x=0.01)
        _legend_above(axes)
    return figure


def training_curves(records: Sequence[Mapping[str, float]], series: Sequence[str] | None = None) -> Figure:
    """Draws losses over the steps of a training, thinly as they were logged and smoothed above.

    Args:
      records: the lines of a training log: "step" and numbers by name; a name may be missing from some records.
      series: names to draw; None for every name that contains "loss".
    """
    if series is None:
        series = list(dict.fromkeys(name for record in records for name in record if "loss" in name))
    with mpl.rc_context(STYLE):
        figure, axes = _figure()
        for name, colour in zip(series, _cycle(len(series)), strict=True):
            points = [(record["step"], record[name]) for record in records if record.get(name) is not None]
            if not points:
                continue
            steps, values = np.asarray(points, dtype=np.float64).T
            window = max(1, len(values) // 40)
            if window > 1:
                axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            axes.plot(steps, running_mean(values, window), color=colour, label=name)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        _legend_above(axes)
    return figure


def references_curve(curves: Mapping[str, Mapping[int, float]], metric: str = "mean J") -> Figure:
    """Draws a score against N, the number of reference frames.

    Args:
      curves: label -> N -> score in [0, 1].
      metric: name of the score.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _figure(width=5.2)
        for k, (label, scores) in enumerate(curves.items()):
            numbers = sorted(scores)
            style = "o-" if k == 0 else "o--"
            axes.plot(numbers, [scores[n] for n in numbers], style, markersize=4, label=label)
        axes.set_xticks(sorted({n for scores in curves.values() for n in scores}))
        axes.set_xlabel("number of reference frames N")
        axes.set_ylabel(metric)
        _legend_above(axes)
    return figure


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Averages each value with its neighbours, over `window` values (fewer at the ends)."""
    kernel = np.ones(window)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def svg(figure: Figure) -> str:
    """Returns a figure as an inline SVG element that takes its text and rule colours from the page around it.

    The page's `color` is the ink, its CSS variable `--rule` the colour of axes and grids.
    """
    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    # Ids must differ between the figures of one page.
    prefix = f"f{zlib.crc32(text.encode()):08x}-"
    text = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{prefix}", text)
    # One size of letters in every figure: as wide as drawn, narrower on narrow screens.
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg\b[^>]*?) width="([^"]*)"', r'\1 style="max-width:\2"', text, count=1)
    return text.replace(INK, "currentColor").replace(FAINT, "var(--rule, #999)")


def _figure(width: float = 7.2, height: float = 2.8) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def _cycle(number: int) -> list[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(number)]


def _legend_above(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=6, borderaxespad=0.2)
