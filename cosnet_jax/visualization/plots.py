"""Draws the figures of the report; no display is needed."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence

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
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
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
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "svg.fonttype": "none",
    "svg.hashsalt": "cosnet_jax",
}


def sequence_bars(per_sequence: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draws J of every sequence as bars, the best sequence first, and F where all have it.

    `per_sequence`: sequence name -> metric -> score in [0, 1] (as in `results.json`).
    """
    metrics = [metric for metric in ("J", "F") if all(metric in scores for scores in per_sequence.values())]
    names = sorted(per_sequence, key=lambda name: -per_sequence[name]["J"])
    thickness = 0.76 / len(metrics)
    with _axes(height=0.7 + (0.13 * len(metrics) + 0.12) * len(names)) as axes:
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
    return axes.figure


def frame_curves(curves: Mapping[str, Sequence[float]]) -> Figure:
    """Draws J over the evaluated frames of some sequences: label -> one value in [0, 1] per evaluated frame."""
    with _axes("evaluated frame", "J, percent") as axes:
        for label, values in curves.items():
            axes.plot(np.arange(1, len(values) + 1), 100 * np.asarray(values), label=_label(label))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylim(0, 102)
    return axes.figure


def training_curves(records: Sequence[Mapping]) -> Figure | None:
    """Draws the loss over a training for each kind of step: the logged values (faint) and the mean of neighbours.

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
    with _axes("step", "loss") as axes:
        for (kind, chosen), colour in zip(by_kind.items(), itertools.cycle(COLOURS), strict=False):
            steps = [record["step"] for record in chosen]
            values = np.array([record["loss"] for record in chosen], dtype=np.float64)
            kernel = np.ones(max(1, len(values) // 40))
            means = np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
            if len(kernel) > 1:
                axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            axes.plot(steps, means, color=colour, label=kind)
        axes.set_ylim(bottom=0)
    return axes.figure


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
    with _axes("step", "percent") as axes:
        for name, label in names.items():
            points = [(record["step"], 100 * record[name]) for record in chosen if name in record]
            axes.plot(*zip(*points, strict=True), "o-", markersize=3, label=label)
    return axes.figure


def references_curve(curves: Mapping[str, Mapping[int, float]]) -> Figure:
    """Draws mean J against N: label -> N -> score in [0, 1]. The first curve is solid, the others are dashed."""
    with _axes("number of reference frames N", "mean J, percent", width=5.2) as axes:
        for k, (label, scores) in enumerate(curves.items()):
            numbers = sorted(scores)
            axes.plot(numbers, [100 * scores[n] for n in numbers], "o--" if k else "o-", markersize=4, label=label)
        axes.set_xticks(sorted({n for scores in curves.values() for n in scores}))
    return axes.figure


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


@contextlib.contextmanager
def _axes(xlabel: str = "", ylabel: str = "", width: float = 7.2, height: float = 2.8) -> Iterator[Axes]:
    """Makes a figure in `STYLE` for the block to draw in; what it labels stands in a legend above."""
    with mpl.rc_context(STYLE):
        axes = Figure(figsize=(width, height)).subplots()
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.margins(x=0.01)
        yield axes
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=6, borderaxespad=0.2)


def _label(name: str) -> str:
    """Makes a name fit for a figure: it prints, is not too long, and does not begin with the _ of hidden labels."""
    name = printable(name)
    if len(name) > LONGEST_LABEL:
        name = f"{name[: LONGEST_LABEL // 2]}…{name[-LONGEST_LABEL // 2 + 1 :]}"
    return f" {name}" if name.startswith("_") else name
