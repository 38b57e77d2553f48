"""Draws the figures of the report; no display is needed."""

from __future__ import annotations

import io
import itertools
import re
import warnings
import zlib
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosnet_jax.errors import printable

# Mid-tones that are legible on white and on near-black.
COLOURS = ("#3b82c4", "#e0823d", "#4ba36b", "#b8628f", "#8a7fd1", "#9a8c4e")
INK, FAINT = "#010203", "#040506"  # placeholders; `svg` replaces them by the page's colours of text and lines
LONGEST_LABEL = 40  # characters
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
    "text.parse_math": False,  # a sequence's name can hold $
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "svg.fonttype": "none",
    "svg.hashsalt": "cosnet_jax",
}


def sequence_bars(per_sequence: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draws J of every sequence as bars, the best sequence first, and F where all have it.

    Args:
      per_sequence: sequence name -> metric -> score in [0, 1] (as in `results.json`).

    Returns:
      A figure. Its height grows with the number of sequences.
    """
    metrics = [metric for metric in ("J", "F") if all(metric in scores for scores in per_sequence.values())]
    names = sorted(per_sequence, key=lambda name: -per_sequence[name]["J"])
    thickness = 0.76 / len(metrics)
    with mpl.rc_context(STYLE):
        figure, axes = _figure(height=0.7 + (0.13 * len(metrics) + 0.12) * len(names))
        for k, metric in enumerate(metrics):
            values = [100 * per_sequence[name][metric] for name in names]
            positions = np.arange(len(names)) + (k - (len(metrics) - 1) / 2) * thickness
            axes.barh(positions, values, height=thickness * 0.92, label=metric)
        axes.set_yticks(np.arange(len(names)), map(_label, names))
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, 100)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _legend_above(axes)
    return figure


def frame_curves(curves: Mapping[str, Sequence[float]]) -> Figure:
    """Draws J over the evaluated frames of some sequences.

    Args:
      curves: label -> one value in [0, 1] per evaluated frame.

    Returns:
      A figure.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _figure()
        for label, values in curves.items():
            axes.plot(np.arange(1, len(values) + 1), 100 * np.asarray(values), label=_label(label))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("evaluated frame")
        axes.set_ylabel("J, percent")
        axes.set_ylim(0, 102)
        axes.margins(x=0.01)
        _legend_above(axes)
    return figure


def training_curves(records: Sequence[Mapping]) -> Figure | None:
    """Draws the loss over a training for each kind of step: the logged values (faint) and their running mean.

    The running mean is over a 40th of the values.

    Args:
      records: the lines of the training log: "step", "kind" (e.g. "still", "video") and, of a step, "loss".

    Returns:
      A figure, or None where no record has a loss.
    """
    by_kind: dict[str, list[Mapping]] = {}
    for record in records:
        if "loss" in record:
            by_kind.setdefault(str(record["kind"]), []).append(record)
    if not by_kind:
        return None
    with mpl.rc_context(STYLE):
        figure, axes = _figure()
        for (kind, chosen), colour in zip(by_kind.items(), itertools.cycle(COLOURS), strict=False):
            steps = [record["step"] for record in chosen]
            values = np.array([record["loss"] for record in chosen], dtype=np.float64)
            window = max(1, len(values) // 40)
            if window > 1:
                axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            axes.plot(steps, running_mean(values, window), color=colour, label=kind)
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        _legend_above(axes)
    return figure


def validation_curves(records: Sequence[Mapping], names: Mapping[str, str]) -> Figure | None:
    """Draws validation scores over a training.

    Args:
      records: the lines of the training log; those of kind "validation" are drawn.
      names: name of a score in [0, 1] in the records -> label.

    Returns:
      A figure, or None where there was no validation.
    """
    chosen = [record for record in records if record.get("kind") == "validation"]
    names = {name: label for name, label in names.items() if any(name in record for record in chosen)}
    if not names:
        return None
    with mpl.rc_context(STYLE):
        figure, axes = _figure()
        for name, label in names.items():
            points = [(record["step"], 100 * record[name]) for record in chosen if name in record]
            axes.plot(*zip(*points, strict=True), "o-", markersize=3, label=label)
        axes.set_xlabel("step")
        axes.set_ylabel("percent")
        axes.margins(x=0.01)
        _legend_above(axes)
    return figure


def references_curve(curves: Mapping[str, Mapping[int, float]]) -> Figure:
    """Draws mean J against N, the number of reference frames.

    Args:
      curves: label -> N -> score in [0, 1]. The first curve is solid, the others are dashed.

    Returns:
      A figure.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _figure(width=5.2)
        for k, (label, scores) in enumerate(curves.items()):
            numbers = sorted(scores)
            axes.plot(numbers, [100 * scores[n] for n in numbers], "o--" if k else "o-", markersize=4, label=label)
        axes.set_xticks(sorted({n for scores in curves.values() for n in scores}))
        axes.set_xlabel("number of reference frames N")
        axes.set_ylabel("mean J, percent")
        _legend_above(axes)
    return figure


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Averages each value with its neighbours.

    Args:
      values: (n,).
      window: number of values in each average, at most n; at the two ends there are fewer.

    Returns:
      (n,).
    """
    kernel = np.ones(window)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def svg(figure: Figure) -> str:
    """Converts a figure to an inline SVG element that uses the colours of the page around it.

    Text has the page's `color`; axes and grids have the colour of the CSS variable `--rule`.
    """
    buffer = io.StringIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser draws the text, with its own fonts
        figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    # The ids of all figures on one page must differ.
    prefix = f"f{zlib.crc32(text.encode()):08x}-"
    text = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{prefix}", text)
    # All figures have letters of one size: a figure is as wide as drawn, and on narrow screens a little narrower.
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1)
    size = r'\1 style="width:100%;max-width:\2;min-width:calc(.92 * \2)"'
    text = re.sub(r'(<svg\b[^>]*?) width="([^"]*)"', size, text, count=1)
    return text.replace(INK, "currentColor").replace(FAINT, "var(--rule, #999)")


def _figure(width: float = 7.2, height: float = 2.8) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def _label(name: str) -> str:
    """Makes a name fit for a figure: it prints, is not too long, and does not begin with the _ of hidden labels."""
    name = printable(name)
    if len(name) > LONGEST_LABEL:
        name = f"{name[: LONGEST_LABEL // 2]}…{name[-LONGEST_LABEL // 2 + 1 :]}"
    return f" {name}" if name.startswith("_") else name


def _legend_above(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=6, borderaxespad=0.2)
