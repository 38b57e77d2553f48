"""`cosnet evaluate`: scores a checkpoint, or a folder of masks, on a benchmark.

Writes `OUT/results.json`, the tables as `OUT/results.md`, `OUT/masks/<sequence>/<frame>.png`, `OUT/report.html` and
`OUT/players/<sequence>.html`, which it links to; of a checkpoint also `OUT/single_frame/`, the masks of N = 0.
When it was interrupted, the same command goes on: it segments no sequence again that was finished with the same
weights, settings, version of this package and frames (`OUT/masks/<sequence>/finished.json` says so).
With `--config.distributed.enabled` several processes share the sequences; OUT is a folder that all of them see. SIGTERM
to one of them ends all.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from cosnet_jax import distributed, parallel
from cosnet_jax.checkpoints.load import load_checkpoint_for
from cosnet_jax.config import as_stored, read_config
from cosnet_jax.data.sequence import Sequence
from cosnet_jax.data.sequences import open_sequences
from cosnet_jax.errors import InputError, printable
from cosnet_jax.evaluation.protocols import protocol_of
from cosnet_jax.evaluation.results_file import write_results
from cosnet_jax.evaluation.score import check_scoring, score_masks
from cosnet_jax.files import claimed, expanded, remove_temporaries, writable_folder, write_text
from cosnet_jax.inference import crf
from cosnet_jax.inference.provenance import describe_inference
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.inference.sequence_masks import SequenceMasks
from cosnet_jax.progress import track
from cosnet_jax.report.evaluation_report import PLAYERS, evaluation_markdown, write_evaluation_report
from cosnet_jax.report.page import Section
from cosnet_jax.report.tables import notes, percent, score_table
from cosnet_jax.training.config import check_config
from cosnet_jax.training.metric_log import find_metrics

EXAMPLE = (
    "cosnet evaluate --config=davis16_lite --workdir=out/val --checkpoint=davis16_lite "
    "--config.data.davis16.source=DAVIS"
)
TAKES_OVERRIDES = True
LOCK_FILE = ".evaluation.lock"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("--config", required=True, metavar="CONFIG", help="a file of configs/ or its name")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="folder for the scores, masks and report")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--checkpoint", metavar="DIR", help="a checkpoint, a weights file, or the working directory of a training"
    )
    what.add_argument("--predictions", metavar="DIR", help="a folder of masks SEQUENCE/FRAME.png to score instead")


def run(arguments: argparse.Namespace) -> int:
    """Evaluates, and prints the mean scores."""
    config, workdir = read_config(arguments.config, arguments.overrides), Path(arguments.workdir)
    with parallel.several_processes():
        results = evaluate(config, workdir, arguments.checkpoint, arguments.predictions)
    if results:
        print_scores(results, workdir)
    return 0


def evaluate(config: ConfigDict, workdir: Path, checkpoint: str | None, predictions: str | None) -> dict:
    """Segments a benchmark, scores the masks and writes the report.

    Args:
      config: the whole configuration; its model must be the checkpoint's.
      workdir: gets `results.json`, `results.md`, `report.html`, `players/`, and of a checkpoint `masks/` and, for
        comparison, `single_frame/` (N = 0).
      checkpoint: see `load_checkpoint`; or
      predictions: a folder of masks made elsewhere.

    Returns:
      The contents of `results.json`; of several processes the first one's, {} in the others.

    Raises:
      InputError: the data, the checkpoint or the masks do not fit.
    """
    # Everything is checked before long work starts.
    check_config(config)
    distributed.start(config.distributed)
    parallel.end_at_sigterm()
    workdir = writable_folder(workdir)
    dataset = config.data.eval_dataset
    segmenter, settings = None, {}
    if checkpoint:
        variables = load_checkpoint_for(config, checkpoint)
        segmenter = Segmenter.from_config(config, variables)
        if segmenter.config.crf.enabled:
            crf.check_installed(segmenter.config.crf)
        settings = describe_inference(segmenter)
    sequences = chosen_sequences(open_sequences(dataset, config.data.eval_split, config.data), config)
    check_scoring(sequences, protocol_of(dataset), metrics_of(config))

    masks, single_frame = (workdir / "masks", workdir / "single_frame") if segmenter else (expanded(predictions), None)

    with contextlib.ExitStack() as resources:
        parallel.on_first(lambda: resources.enter_context(claimed(workdir, LOCK_FILE, "evaluates")))
        parallel.on_first(lambda: remove_leftovers(workdir))

        # Segment.
        metadata = {"configuration": config.name}
        if segmenter:
            outputs = [SequenceMasks(each, (masks, single_frame), settings) for each in parallel.share_of(sequences)]
            segment_all(segmenter, [output for output in outputs if not output.is_finished()])
            references = f"{segmenter.config.num_references}, {segmenter.config.sampling}"
            refined = "yes" if segmenter.config.crf.enabled else "no"
            metadata |= {"checkpoint": checkpoint, "references": references, "CRF": refined}
        else:
            metadata["masks"] = predictions

        # Score and report.
        parallel.wait_for_others("segmented")
        results = {}
        if parallel.is_first():
            training_records = find_metrics(checkpoint) if checkpoint else []
            results = score_and_report(
                config, workdir, sequences, masks, single_frame, metadata, training_records, segmenter
            )
        parallel.wait_for_others("scored")
    return results


def chosen_sequences(sequences: list[Sequence], config: ConfigDict) -> list[Sequence]:
    """Returns the sequences that `evaluation.sequences` names, or all of them; an unknown name is an InputError."""
    names = [name.strip() for name in config.evaluation.sequences.split(",") if name.strip()]
    if unknown := sorted(set(names) - {sequence.name for sequence in sequences}):
        raise InputError(f"evaluation.sequences names {unknown[0]!r}, which is not in split {config.data.eval_split!r}")
    return [sequence for sequence in sequences if not names or sequence.name in names]


def metrics_of(config: ConfigDict) -> list[str]:
    """Returns the measures to score by."""
    return [name.strip() for name in config.evaluation.metrics.split(",")]


def score_and_report(
    config: ConfigDict,
    workdir: Path,
    sequences: list[Sequence],
    masks: Path,
    single_frame: Path | None,
    metadata: dict[str, str],
    training_records: list[dict],
    segmenter: Segmenter | None,
) -> dict:
    """Scores the masks of all sequences, and those of N = 0 if there are any; writes the tables and the report.

    Args:
      config, workdir: as in `evaluate`.
      sequences: all of them.
      masks: the folder of their masks.
      single_frame: the folder of the masks of N = 0, or None.
      metadata: stands at the top of the report.
      training_records: from `find_metrics`; the report plots them.
      segmenter: the network that made the masks, or None; it segments the sample clip.

    Returns:
      As `evaluate`.
    """
    dataset, split = config.data.eval_dataset, config.data.eval_split
    protocol, metrics = protocol_of(dataset), metrics_of(config)
    about, sections = {"dataset": dataset, "split": split, "config": as_stored(config)}, []
    results = score_masks(sequences, masks, protocol, metrics, **about)
    if single_frame:
        alone = score_masks(sequences, single_frame, protocol, ["J"], **about)
        results["single_frame"] = {"J": alone["J"]}
        if "J" in results:
            sections.append(gain_section(results, alone))
    write_results(workdir / "results.json", results)
    write_text(workdir / "results.md", evaluation_markdown(results))
    write_evaluation_report(
        workdir / "report.html", f"COSNet on {dataset}", results, metadata=metadata, sequences=sequences,
        masks_dir=masks, training_records=training_records, sections=sections,
    )  # fmt: skip
    return results


def segment_all(segmenter: Segmenter, outputs: Collection[SequenceMasks]) -> None:
    """Writes two kinds of masks of sequences: those of the segmenter, and those of N = 0.

    Where it is enabled, a CRF sharpens both kinds of maps before, in parallel to the network.
    """
    options_list = [segmenter.config, dataclasses.replace(segmenter.config, num_references=0)]
    params = segmenter.config.crf

    def all_maps() -> Iterator[tuple[tuple[SequenceMasks, int, int], np.ndarray, np.ndarray]]:
        for output in outputs:
            output.begin()
            for index, frame, maps in segmenter.predict(output.sequence, options_list):
                output.add_frame(frame)
                for kind, probability in enumerate(maps):
                    yield (output, kind, index), frame, probability

    refined = crf.refine_stream(all_maps(), params) if params.enabled else ((key, map_) for key, _, map_ in all_maps())
    with contextlib.closing(refined):
        total = 2 * sum(len(output.sequence) for output in outputs)
        for (output, kind, index), probability in track(refined, "segmenting", total, silent=not parallel.is_first()):
            output.write(kind, index, probability > 0.5)


def remove_leftovers(workdir: Path) -> None:
    """Removes what a killed evaluation left of the files that are written anew each time."""
    for name in ("results.json", "results.md", "report.html", f"{PLAYERS}/*.html"):
        remove_temporaries((workdir / name).parent, Path(name).name)


def gain_section(results: dict, alone: dict) -> Section:
    """Compares the scores with those of the same network without references."""
    runs = {"co-attention": results, "the same network, N = 0": alone}
    gain = 100 * (results["J"]["mean"] - alone["J"]["mean"])
    text = f"Co-attention adds {gain:+.1f} points of mean J to what the same network sees in a single frame."
    return Section("What the references add", [text, score_table(runs)])


def print_scores(results: dict, workdir: Path) -> None:
    """Prints the mean scores in percent, and where the report is."""
    scores = [f"{metric} {percent(results[metric]['mean'])}" for metric in ("J", "F", "T") if metric in results]
    if "J" in results.get("over_categories", {}):
        scores.append(f"J over categories {percent(results['over_categories']['J']['mean'])}")
    if "single_frame" in results:
        scores.append(f"J with N = 0 {percent(results['single_frame']['J']['mean'])}")
    print(printable(f"{results['dataset']}: {', '.join(scores)}; report in {workdir / 'report.html'}"))
    for note in notes(results):
        print(printable(f"note: {note}"))
