"""`cosnet evaluate`: scores a checkpoint, or a folder of masks, on a benchmark.

When it was interrupted, the same command goes on: a sequence is not segmented again that was finished with the same
weights, settings, version of this package and frames (`masks/<sequence>/finished.json` says so).
With `--config.distributed.enabled` several processes share the sequences and see the same folder; SIGTERM to one ends
all.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
from collections.abc import Iterator
from importlib import metadata as metadata_of_packages
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from cosnet_jax import distributed, parallel
from cosnet_jax.checkpoints.load import SHIPPED_MODEL, load_checkpoint_for
from cosnet_jax.commands.arguments import CHECKPOINT, add_config_arguments
from cosnet_jax.config import as_stored, read_config
from cosnet_jax.errors import InputError, printable
from cosnet_jax.evaluation.protocols import protocol_of
from cosnet_jax.evaluation.results_file import write_results
from cosnet_jax.evaluation.score import check_scoring, score_masks
from cosnet_jax.files import claimed, expanded, writable_folder, write_text
from cosnet_jax.inference import crf
from cosnet_jax.inference.provenance import describe_inference
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.inference.sequence_masks import SequenceMasks
from cosnet_jax.progress import track
from cosnet_jax.training.metric_log import find_metrics
from cosnet_jax.video.sample_clip import sample_clip

EXAMPLE = (
    "cosnet evaluate --config=davis16_lite --workdir=out/val --checkpoint=davis16_lite "
    "--config.data.davis16.source=DAVIS"
)
TAKES_OVERRIDES = True
LOCK_FILE = ".evaluation.lock"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_config_arguments(parser, "the scores, masks and report")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", metavar="DIR", help=CHECKPOINT)
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
      workdir: gets `results.json`, `results.md`, `report.html`, `players/<sequence>.html`, and of a checkpoint
        `masks/<sequence>/<frame>.png` and, for comparison, `single_frame/` (N = 0).
      checkpoint: see `load_checkpoint`; or
      predictions: a folder of masks made elsewhere.

    Returns:
      The contents of `results.json`; of several processes the first one's, {} in the others.

    Raises:
      InputError: the data, the checkpoint or the masks do not fit.
    """
    from cosnet_jax.data.sequences import open_sequences  # these need the extra `train`, and --help works without it
    from cosnet_jax.report import evaluation_report
    from cosnet_jax.training.config import check_config

    # Everything is checked before long work starts.
    check_config(config)
    distributed.start(config.distributed)
    parallel.end_at_sigterm()
    workdir = writable_folder(workdir)
    dataset, split = config.data.eval_dataset, config.data.eval_split
    protocol, metrics = protocol_of(dataset), [name.strip() for name in config.evaluation.metrics.split(",")]
    segmenter = None
    if checkpoint:
        segmenter = Segmenter.from_config(config, load_checkpoint_for(config, checkpoint))
        if segmenter.config.crf.enabled:
            crf.check_installed(segmenter.config.crf)
    sequences = open_sequences(dataset, split, config.data)
    chosen = {name.strip() for name in config.evaluation.sequences.split(",") if name.strip()}
    if unknown := sorted(chosen - {sequence.name for sequence in sequences}):
        raise InputError(f"evaluation.sequences names {unknown[0]!r}, which is not in split {split!r}")
    sequences = [sequence for sequence in sequences if not chosen or sequence.name in chosen]
    check_scoring(sequences, protocol, metrics)

    results: dict = {}
    with contextlib.ExitStack() as resources:
        parallel.on_first(lambda: resources.enter_context(claimed(workdir, LOCK_FILE, "evaluates")))

        # Segment.
        today, version = datetime.date.today(), metadata_of_packages.version("cosnet_jax")
        metadata = {"configuration": config.name, "made": f"{today}, cosnet_jax {version}"}
        training_records, opening, sections = [], [], []
        if segmenter:
            masks, single_frame = workdir / "masks", workdir / "single_frame"
            settings = describe_inference(segmenter)
            for sequence in track(parallel.share_of(sequences), "segmenting", silent=not parallel.is_first()):
                output = SequenceMasks(sequence, (masks, single_frame), settings)
                if not output.is_finished():
                    write_masks(segmenter, output)
            metadata |= {
                "checkpoint": checkpoint,
                "references": f"{segmenter.config.num_references}, {segmenter.config.sampling}",
                "smoothing": f"{segmenter.config.temporal_smoothing:g} frames",
                "CRF": "yes" if segmenter.config.crf.enabled else "no",
            }
            training_records = find_metrics(checkpoint)
        else:
            masks = expanded(predictions)
            metadata["masks"] = predictions
        parallel.wait_for_others("segmented")

        # Score and report.
        if parallel.is_first():
            about = {"dataset": dataset, "split": split, "config": as_stored(config)}
            results = score_masks(sequences, masks, protocol, metrics, **about)
            if segmenter:
                alone = score_masks(sequences, single_frame, protocol, ["J"], **about)
                results["single_frame"] = {"J": alone["J"]}
                if "J" in results:
                    sections.append(
                        evaluation_report.references_section(results, alone, sequences, masks, single_frame)
                    )
            if config.evaluation.shows_shipped:
                frames = sample_clip().frames
                maps = Segmenter.from_pretrained(SHIPPED_MODEL)(frames)
                opening.append(evaluation_report.shipped_model_section(frames, maps > 0.5))
            write_results(workdir / "results.json", results)
            write_text(workdir / "results.md", evaluation_report.evaluation_markdown(results))
            evaluation_report.write_evaluation_report(
                workdir / "report.html", f"COSNet on {dataset}", results, metadata=metadata, sequences=sequences,
                masks_dir=masks, training_records=training_records, opening=opening, sections=sections,
                max_frames=config.evaluation.players,
            )  # fmt: skip
        parallel.wait_for_others("scored")
    return results


def write_masks(segmenter: Segmenter, output: SequenceMasks) -> None:
    """Writes two kinds of masks of a sequence: the segmenter's, and those of N = 0; a CRF sharpens both if enabled."""
    options_list = [segmenter.config, dataclasses.replace(segmenter.config, num_references=0)]
    params = segmenter.config.crf

    def all_maps() -> Iterator[tuple[tuple[int, int], np.ndarray, np.ndarray]]:
        for index, frame, maps in segmenter.predict(output.sequence, options_list):
            output.add_frame(frame)
            for kind, probability in enumerate(maps):
                yield (kind, index), frame, probability

    output.begin()
    refined = crf.refine_stream(all_maps(), params) if params.enabled else ((key, map_) for key, _, map_ in all_maps())
    with contextlib.closing(refined):
        for (kind, index), probability in refined:
            output.write(kind, index, probability > 0.5)


def print_scores(results: dict, workdir: Path) -> None:
    """Prints the mean scores in percent, and where the report is."""
    from cosnet_jax.report.tables import notes, percent

    scores = [f"{metric} {percent(results[metric]['mean'])}" for metric in ("J", "F", "T") if metric in results]
    if "J" in results.get("over_categories", {}):
        scores.append(f"J over categories {percent(results['over_categories']['J']['mean'])}")
    if "single_frame" in results:
        scores.append(f"J with N = 0 {percent(results['single_frame']['J']['mean'])}")
    print(printable(f"{results['dataset']}: {', '.join(scores)}; report in {workdir / 'report.html'}"))
    for note in notes(results):
        print(printable(f"note: {note}"))
