"""The report of an evaluation, as an HTML page and as Markdown tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from cosnet_jax.evaluation.predictions import read_sequence_masks
from cosnet_jax.files import bounded_name, writable_folder
from cosnet_jax.progress import track
from cosnet_jax.report import paper
from cosnet_jax.report.page import Image, Section, write_page
from cosnet_jax.report.player import write_player
from cosnet_jax.report.tables import (
    THIS_RUN,
    category_table,
    methods_table,
    notes,
    percent,
    score_table,
    sequence_table,
)
from cosnet_jax.visualization import plots
from cosnet_jax.visualization.overlays import beside, overlay, prediction_beside_truth

PLAYERS = "players"  # folder of the players, beside the page
MAX_FRAMES = 24  # of a sequence that its player shows
MAX_BARS = 60
VALIDATION_SCORES = {"J": "validation J", "J_single_frame": "validation J of the same network, N = 0"}


def write_evaluation_report(
    path: str | Path,
    title: str,
    results: Mapping,
    *,
    metadata: Mapping[str, object] | None = None,
    sequences: Sequence = (),
    masks_dir: str | Path | None = None,
    training_records: Sequence[Mapping] = (),
    opening: Sequence[Section] = (),
    sections: Sequence[Section] = (),
    max_frames: int = MAX_FRAMES,
) -> None:
    """Writes the report of an evaluation as one self-contained HTML file, and beside it a page for each sequence.

    Args:
      path: the file, usually `OUT/report.html`.
      title: the title of the page.
      results: what `score_masks` returned.
      metadata: names and values of what was evaluated (checkpoint, configuration, ...); the page lists dataset and
        sizes before them.
      sequences: the scored sequences, for pictures of frames; see `cosnet_jax.data.sequence.Sequence`.
      masks_dir: the folder of scored masks, for pictures of frames.
      training_records: all lines of the training log, for the curves of loss and validation.
      opening: sections that stand before the scores.
      sections: sections between the scores and the sequences (e.g. a comparison of runs).
      max_frames: of each sequence that its page plays; 0: no such pages.
    """
    split = f", {results['split']}" if results.get("split") else ""
    frames = sum(len(values["frames"]) for values in results.get("per_frame", {}).values())
    about = {"dataset": f"{results['dataset']}{split}", "sequences": results["sequences"]}
    about |= {"evaluated frames": frames} if frames else {}
    about |= metadata or {}

    parts = [
        *opening,
        Section("Scores", [score_table({THIS_RUN: results}), *(f"{note}." for note in notes(results))]),
        *sections,
    ]
    if paper.compared_with(results) == "davis16" and "J" in results:
        parts.append(Section("Other methods", [methods_table(results)]))
    if "per_category" in results:
        parts.append(Section("Categories", [category_table(results)]))
    has_pictures, links = masks_dir is not None and bool(sequences) and "J" in results, dict[str, Markup]()
    if has_pictures and max_frames:
        links = write_players(Path(path), results, sequences, Path(masks_dir), max_frames)
    if "J" in results:
        bars = [plots.sequence_bars(results["per_sequence"])] if results["sequences"] <= MAX_BARS else []
        hint = ["A sequence's name leads to a page that plays it, with J of each frame."] * bool(links)
        parts.append(Section("Sequences", [*bars, *hint, sequence_table(results, links)]))
    if has_pictures:
        examples = example_images(results, sequences, masks_dir)
        legend = "Prediction on the left, ground truth on the right."
        parts.append(Section("Best, median and worst frames", [legend, examples]))
    if any("J" in values for values in results.get("per_frame", {}).values()):
        parts.append(Section("J over the frames of a sequence", [frame_figure(results)]))
    figures = [plots.training_curves(training_records), plots.validation_curves(training_records, VALIDATION_SCORES)]
    if any(figures):
        parts.append(Section("Training", [figure for figure in figures if figure]))
    write_page(path, title, about, parts)


def write_players(
    report: Path, results: Mapping, sequences: Sequence, masks_dir: Path, max_frames: int
) -> dict[str, Markup]:
    """Writes `players/<sequence>.html` for each sequence; see `write_player`.

    Args:
      report: file of the report.
      results: what `score_masks` returned.
      sequences: the scored sequences.
      masks_dir: the folder of scored masks.
      max_frames: of a sequence that are shown.

    Returns:
      The name of each sequence -> a link to its page.
    """
    players, links = writable_folder(report.parent / PLAYERS), {}
    for sequence in track(sequences, "writing the players"):
        values = results["per_frame"][sequence.name]
        scores = dict(zip(values["frames"], values["J"], strict=True))
        file = bounded_name(f"{sequence.name}.html")
        write_player(players / file, sequence, masks_dir, scores, max_frames, f"../{quote(report.name)}")
        address = f"{PLAYERS}/{quote(os.fsencode(file))}"
        links[sequence.name] = Markup('<a href="{}">{}</a>').format(address, sequence.name)
    return links


def evaluation_markdown(results: Mapping) -> str:
    """Returns the tables of the report in Markdown: scores, categories, other methods, sequences.

    Args:
      results: what `score_masks` returned.
    """
    tables = {"Scores": score_table({THIS_RUN: results})}
    if "per_category" in results:
        tables["Categories"] = category_table(results)
    if paper.compared_with(results) == "davis16" and "J" in results:
        tables["Other methods"] = methods_table(results)
    tables["Sequences"] = sequence_table(results)
    split = f", {results['split']}" if results.get("split") else ""
    parts = [f"# {results['dataset']}{split}: {results['sequences']} sequences\n"]
    return "\n".join(parts + [f"## {title}\n\n{table.to_markdown()}" for title, table in tables.items()])


def example_frames(results: Mapping, each: int = 2) -> list[tuple[str, str, str, float]]:
    """Chooses the frames with the best, median and worst J; all frames of one kind are of different sequences.

    Args:
      results: what `score_masks` returned.
      each: number of frames of each kind; there are fewer if there are fewer sequences.

    Returns:
      (kind, sequence, frame name, J), where kind is "best", "median" or "worst".
    """
    frames = sorted((score, name, frame) for (name, frame), score in frame_scores(results).items())
    median = np.median([score for score, _, _ in frames])
    orders = {
        "best": frames[::-1],
        "median": sorted(frames, key=lambda item: abs(item[0] - median)),
        "worst": frames,
    }
    return [
        (kind, name, frame, score)
        for kind, order in orders.items()
        for score, name, frame in first_of_different_sequences(order, each)
    ]


def frame_scores(results: Mapping) -> dict[tuple[str, str], float]:
    """Returns J by (sequence, frame name)."""
    return {
        (name, frame): score
        for name, values in results["per_frame"].items()
        for frame, score in zip(values["frames"], values["J"], strict=True)
    }


def first_of_different_sequences(frames: Iterable[tuple[float, str, str]], count: int) -> list[tuple[float, str, str]]:
    """Chooses the first (value, sequence, frame name) of each sequence, at most `count`."""
    first: dict[str, tuple[float, str, str]] = {}
    for item in frames:
        first.setdefault(item[1], item)
    return list(first.values())[:count]


def example_images(results: Mapping, sequences: Sequence, masks_dir: str | Path) -> list[Image]:
    """Draws the frames that `example_frames` chooses, with the prediction beside the ground truth.

    Args:
      results: what `score_masks` returned.
      sequences: the scored sequences; see `cosnet_jax.data.sequence.Sequence`.
      masks_dir: the folder of scored masks.
    """
    by_name = {sequence.name: sequence for sequence in sequences}
    images = []
    for kind, name, frame, score in example_frames(results):
        sequence = by_name[name]
        i = sequence.frame_names.index(frame)
        prediction = read_sequence_masks(Path(masks_dir), sequence, [i])[i]
        image, truth = sequence.frame_and_mask(i)
        pixels = prediction_beside_truth(image, prediction, truth)
        images.append(Image(pixels, f"{kind}: {name}, frame {frame}, J {percent(score)}"))
    return images


def references_section(
    results: Mapping, alone: Mapping, sequences: Sequence, masks_dir: Path, alone_dir: Path
) -> Section:
    """Compares masks with those of the same network without references, N = 0.

    Args:
      results, alone: what `score_masks` returned of each, with J.
      sequences: the scored sequences.
      masks_dir, alone_dir: folders of the scored masks.

    Returns:
      Both scores, and the frames that gain most.
    """
    gain = 100 * (results["J"]["mean"] - alone["J"]["mean"])
    text = f"Co-attention adds {gain:+.1f} points of mean J to what a single frame shows the network."
    table = score_table({"co-attention": results, "the same network, N = 0": alone})
    before, after = frame_scores(alone), frame_scores(results)
    gains = sorted(((after[key] - before[key], *key) for key in after), reverse=True)
    by_name, images = {sequence.name: sequence for sequence in sequences}, []
    for _, name, frame in first_of_different_sequences(gains, 2):
        sequence = by_name[name]
        i = sequence.frame_names.index(frame)
        image = sequence.frame_and_mask(i)[0]
        shown = [overlay(image, read_sequence_masks(folder, sequence, [i])[i]) for folder in (alone_dir, masks_dir)]
        scores = f"J {percent(before[name, frame])} and {percent(after[name, frame])}"
        images.append(Image(beside(*shown), f"{name}, frame {frame}: without references and with them, {scores}"))
    return Section("What the references add", [text, table, images])


def shipped_model_section(frames: np.ndarray, masks: np.ndarray) -> Section:
    """Shows the shipped model's masks (T, h, w) of four frames of a clip (T, h, w, 3)."""
    text = (
        "A clip put together from photographs: an astronaut, and a cup that comes and goes. The masks are those of the "
        "model that comes with the package. Everything below is about the network of this evaluation."
    )
    chosen = [round(share * (len(frames) - 1)) for share in (0, 0.4, 0.6, 1)]
    images = [Image(overlay(frames[i], masks[i]), f"frame {i}") for i in chosen]
    return Section("The shipped model", [text, images])


def frame_figure(results: Mapping) -> Figure:
    """Draws J over the evaluated frames of the best, the median and the worst sequence."""
    curves = {name: values["J"] for name, values in results["per_frame"].items()}
    ordered = sorted(curves, key=lambda name: -results["per_sequence"][name]["J"])
    chosen = dict.fromkeys([ordered[0], ordered[len(ordered) // 2], ordered[-1]])
    means = {name: percent(results["per_sequence"][name]["J"]) for name in chosen}
    return plots.frame_curves({f"{name} ({means[name]})": curves[name] for name in chosen})
