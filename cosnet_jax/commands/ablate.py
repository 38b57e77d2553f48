"""`cosnet ablate`: the paper's ablations of inference Table 2 and half of Table 1."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ml_collections import ConfigDict

from cosnet_jax.checkpoints.load import load_checkpoint_for
from cosnet_jax.commands.arguments import CHECKPOINT, add_config_arguments
from cosnet_jax.config import as_stored, read_config
from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.ground_truth import read_ground_truth
from cosnet_jax.evaluation.protocols import Protocol, get_protocol, protocol_of
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.evaluation.results_file import write_results
from cosnet_jax.evaluation.score import average_scores, check_scoring
from cosnet_jax.files import writable_folder, write_text
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.inference.references import SAMPLINGS
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.progress import track
from cosnet_jax.threads import read_ahead

NUM_REFERENCES = (0, 1, 2, 5, 7)
COMPARED_FUSIONS = ("summary", "prediction")

EXAMPLE = "cosnet ablate --config=davis16_lite --checkpoint=out/lite --workdir=out/ablation"
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_config_arguments(parser, "the tables and the report")
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help=CHECKPOINT)


def run(arguments: argparse.Namespace) -> int:
    """Prints the tables."""
    config = read_config(arguments.config, arguments.overrides)
    print(ablate(config, arguments.workdir, arguments.checkpoint))
    return 0


def ablate(config: ConfigDict, workdir: str | Path, checkpoint: str | Path) -> str:
    """Scores options of inference by mean J, each as `cosnet evaluate` would alone, without CRF and smoothing.

    Args:
      config: the whole configuration; of `config.inference` only the size and the seed are used.
      workdir: gets `ablation.json`, `ablation.md` and `report.html`.
      checkpoint: a network of this configuration, see `load_checkpoint`.

    Returns:
      The tables, in Markdown.

    Raises:
      InputError: the data or the checkpoint do not fit, or the model has no co-attention.
    """
    from cosnet_jax.data.sequences import open_sequences  # these need the extra `train`, and --help works without it
    from cosnet_jax.report.ablation_report import ablation_markdown, paper_ablation, write_ablation_report
    from cosnet_jax.training.config import check_config

    check_config(config)
    workdir = writable_folder(workdir)
    if config.model.coattention == "none":
        raise InputError("model.coattention is 'none'; expected one of the co-attentions")
    segmenter = Segmenter.from_config(config, load_checkpoint_for(config, checkpoint))
    dataset, split = config.data.eval_dataset, config.data.eval_split
    protocol = protocol_of(dataset)
    sequences = open_sequences(dataset, split, config.data)
    check_scoring(sequences, protocol, ("J",))

    plain = InferenceConfig(size=segmenter.config.size, seed=segmenter.config.seed)
    tables = {
        "num_references": {str(n): replace(plain, num_references=n) for n in NUM_REFERENCES},
        "fusion": {fusion: replace(plain, fusion=fusion) for fusion in COMPARED_FUSIONS},
        "sampling": {sampling: replace(plain, sampling=sampling) for sampling in SAMPLINGS},
    }
    options_list = list(dict.fromkeys(options for table in tables.values() for options in table.values()))
    scores = score_options(segmenter, sequences, options_list, get_protocol(protocol))

    results = {"dataset": dataset, "split": split, "sequences": len(sequences)}
    for name, table in tables.items():
        results[name] = {key: scores[options]["J"]["mean"] for key, options in table.items()}
    results["settings"] = [asdict(options) | scores[options] for options in options_list]
    results["paper"] = paper_ablation(results)
    results["config"] = as_stored(config)

    text = ablation_markdown(results)
    write_results(workdir / "ablation.json", results)
    write_text(workdir / "ablation.md", text)
    metadata = {"checkpoint": checkpoint, "configuration": config.name}
    write_ablation_report(workdir / "report.html", f"Ablations of COSNet on {dataset}", results, metadata)
    return f"{text}\nreport in {workdir / 'report.html'}"


def score_options(
    segmenter: Segmenter, sequences: Sequence, options_list: Sequence[InferenceConfig], protocol: Protocol
) -> dict[InferenceConfig, dict]:
    """Segments the evaluated frames of a benchmark with several options at once, and scores each by J.

    Returns:
      For each of the options what `score.average_scores` returns.
    """
    scored: dict[InferenceConfig, dict] = {options: {} for options in options_list}
    for sequence in track(sequences, "comparing"):
        truths, evaluated = read_ground_truth(sequence, protocol)
        values = [
            [jaccard(probability > 0.5, truths[index]) for probability in maps]
            for index, _, maps in read_ahead(segmenter.predict(sequence, options_list, queries=evaluated))
        ]
        names = [sequence.frame_names[index] for index in evaluated]
        for options, scores in zip(options_list, zip(*values, strict=True), strict=True):
            scored[options][sequence.name] = {"frames": names, "J": list(scores)}
    return {options: average_scores(scores, protocol, ("J",)) for options, scores in scored.items()}
