"""`cosnet ablate`: the paper's ablations of inference in one pass over the frames, Table 2 and half of Table 1."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cosnet_jax.checkpoints.load import load_checkpoint_for
from cosnet_jax.commands.config_arguments import add_config_arguments
from cosnet_jax.config import as_stored, read_config
from cosnet_jax.data.sequences import open_sequences
from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.ground_truth import read_ground_truth
from cosnet_jax.evaluation.protocols import Protocol, get_protocol, protocol_of
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.evaluation.results_file import write_results
from cosnet_jax.evaluation.score import average_scores, check_scoring
from cosnet_jax.files import writable_folder, write_text
from cosnet_jax.inference.options import InferenceOptions
from cosnet_jax.inference.read_ahead import read_ahead
from cosnet_jax.inference.references import SAMPLINGS
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.progress import track
from cosnet_jax.report.ablation_report import ablation_markdown, paper_ablation, write_ablation_report
from cosnet_jax.training.config import check_config

NUM_REFERENCES = (0, 1, 2, 5, 7)
COMPARED_FUSIONS = ("summary", "prediction")
COMPARED_WITH = 5  # references, where fusions and samplings are compared: the paper's N


EXAMPLE = (
    "cosnet ablate --config=configs/davis16_lite.py --checkpoint=out/lite --workdir=out/ablation "
    "--config.data.davis16.source=DAVIS"
)
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_config_arguments(parser, "the tables and the report")


def run(arguments: argparse.Namespace) -> int:
    """Prints the tables."""
    config = read_config(arguments.config, arguments.overrides)
    print(ablate(config, arguments.workdir, arguments.checkpoint))
    return 0


def ablate(config: ConfigDict, workdir: str | Path, checkpoint: str | Path) -> str:
    """Scores the ways of comparing frames by mean J, each as `evaluate.py` would alone, without a CRF.

    Args:
      config: the whole configuration; its model must be the checkpoint's. Of `config.inference` only the
        size is used.
      workdir: gets `ablation.json`, `ablation.md` and `report.html`.
      checkpoint: see `load_checkpoint`.

    Returns:
      The tables, in Markdown.

    Raises:
      InputError: if the data or the checkpoint do not fit, or the model has no co-attention.
    """
    check_config(config)
    workdir = writable_folder(workdir)
    if config.model.coattention == "none":
        raise InputError("model.coattention is 'none'; expected one of the co-attentions")
    variables = load_checkpoint_for(config, checkpoint)
    dataset, split = config.data.eval_dataset, config.data.eval_split
    protocol = protocol_of(dataset)
    sequences = open_sequences(dataset, split, config.data)
    check_scoring(sequences, protocol, ("J",))

    def by_n(n: int, **changes: Any) -> InferenceOptions:
        return dataclasses.replace(InferenceOptions(n, seed=config.seed), **changes)  # no smoothing along time

    tables = {
        "num_references": {str(n): by_n(n) for n in NUM_REFERENCES},
        "fusion": {fusion: by_n(COMPARED_WITH, fusion=fusion) for fusion in COMPARED_FUSIONS},
        "sampling": {sampling: by_n(COMPARED_WITH, sampling=sampling) for sampling in SAMPLINGS},
    }
    ways = list(dict.fromkeys(way for table in tables.values() for way in table.values()))
    scores = score_ways(Segmenter.from_config(config, variables), sequences, ways, get_protocol(protocol))

    results = {"dataset": dataset, "split": split, "sequences": len(sequences)}
    for name, table in tables.items():
        results[name] = {key: scores[way]["J"]["mean"] for key, way in table.items()}
    results["settings"] = [dataclasses.asdict(way) | scores[way] for way in ways]
    results["paper"] = paper_ablation(results)
    results["config"] = as_stored(config)

    text = ablation_markdown(results)
    write_results(workdir / "ablation.json", results)
    write_text(workdir / "ablation.md", text)
    metadata = {"checkpoint": checkpoint, "configuration": config.name}
    write_ablation_report(workdir / "report.html", f"Ablations of COSNet on {dataset}", results, metadata)
    return f"{text}\nreport in {workdir / 'report.html'}"


def score_ways(
    segmenter: Segmenter, sequences: Sequence, ways: Sequence[InferenceOptions], protocol: Protocol
) -> dict[InferenceOptions, dict]:
    """Segments the evaluated frames of a benchmark in several ways at once, and scores each way by J.

    Args:
      segmenter: the network.
      sequences: see `score.score_masks`.
      ways: how frames are compared.
      protocol: the benchmark's rules.

    Returns:
      For each way what `score.average_scores` returns.
    """
    scored: dict[InferenceOptions, dict] = {way: {} for way in ways}

    def all_frames():
        for sequence in sequences:
            truths, evaluated = read_ground_truth(sequence, protocol)
            values = [[] for _ in ways]
            for index, _, maps in read_ahead(segmenter.segment(sequence, ways, queries=evaluated)):
                for scores, probability in zip(values, maps, strict=True):
                    scores.append(jaccard(probability > 0.5, truths[index]))
                yield
            yield from [None] * (len(sequence.annotated) - len(evaluated))  # which the total counts too
            names = [sequence.frame_names[index] for index in evaluated]
            for way, scores in zip(ways, values, strict=True):
                scored[way][sequence.name] = {"frames": names, "J": scores}

    for _ in track(all_frames(), "comparing", sum(len(sequence.annotated) for sequence in sequences)):
        pass
    return {way: average_scores(scores, protocol, ("J",)) for way, scores in scored.items()}
