"""The paper's ablations of inference from one checkpoint, in one pass over the frames: Table 2, and half of Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from cosnet_jax.checkpoints import store as checkpoints
from cosnet_jax.config import as_stored, check_config, inference_size
from cosnet_jax.data.sequences import open_sequences
from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.ground_truth import read_ground_truth
from cosnet_jax.evaluation.protocols import Protocol, get_protocol
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.evaluation.results_file import write_results
from cosnet_jax.evaluation.score import average_scores, check_scoring
from cosnet_jax.files import atomic_write, writable_folder
from cosnet_jax.inference.read_ahead import read_ahead
from cosnet_jax.inference.segmenter import InferenceOptions
from cosnet_jax.inference.sharing import SharingSegmenter
from cosnet_jax.models.build import build_model
from cosnet_jax.progress import track
from cosnet_jax.report import ablation_report as report
from cosnet_jax.video.frames import SequenceFrames

NUM_REFERENCES = (0, 1, 2, 5, 7)
FUSIONS = ("summary", "prediction")
SAMPLINGS = ("uniform", "random", "consecutive")
COMPARED_WITH = 5  # references, where fusions and samplings are compared: the paper's N


def ablate(config: ConfigDict, workdir: str | Path, checkpoint: str | Path) -> str:
    """Scores the ways of comparing frames by mean J, each as `evaluate.py` would alone, without a CRF.

    Args:
      config: the whole configuration; its model must be the checkpoint's. `config.inference` is not used.
      workdir: gets `ablation.json`, `ablation.md` and `report.html`.
      checkpoint: see `checkpoints.find`.

    Returns:
      The tables, in Markdown.

    Raises:
      InputError: if the data or the checkpoint do not fit, or the model has no co-attention.
    """
    check_config(config)
    workdir = writable_folder(workdir)
    if config.model.coattention == "none":
        raise InputError("model.coattention is 'none'; expected one of the co-attentions")
    variables = checkpoints.load_matching(config, checkpoint)
    dataset, split = config.data.eval_dataset, config.data.eval_split
    protocol = "davis16" if dataset == "synthetic" else dataset
    sequences = open_sequences(dataset, split, config.data)
    check_scoring(sequences, protocol, ("J",))

    def by_n(n: int) -> InferenceOptions:
        return InferenceOptions(n, seed=config.seed)

    tables = {
        "num_references": {str(n): by_n(n) for n in NUM_REFERENCES},
        "fusion": {fusion: by_n(COMPARED_WITH)._replace(fusion=fusion) for fusion in FUSIONS},
        "sampling": {sampling: by_n(COMPARED_WITH)._replace(sampling=sampling) for sampling in SAMPLINGS},
    }
    settings = list(dict.fromkeys(setting for table in tables.values() for setting in table.values()))
    segmenter = SharingSegmenter(build_model(config.model), variables, inference_size(config))
    scores = score_settings(segmenter, sequences, settings, get_protocol(protocol))

    results = {"dataset": dataset, "split": split, "sequences": len(sequences)}
    for name, table in tables.items():
        results[name] = {key: scores[setting]["J"]["mean"] for key, setting in table.items()}
    results["settings"] = [setting._asdict() | scores[setting] for setting in settings]
    results["paper"] = report.printed(dataset)
    results["config"] = as_stored(config)

    text = report.markdown(results)
    write_results(workdir / "ablation.json", results)
    with atomic_write(workdir / "ablation.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    metadata = {"checkpoint": checkpoint, "configuration": config.name}
    report.write_report(workdir / "report.html", f"Ablations of COSNet on {dataset}", results, metadata)
    return f"{text}\nreport in {workdir / 'report.html'}"


def score_settings(
    segmenter: SharingSegmenter, sequences: Sequence, settings: Sequence[InferenceOptions], protocol: Protocol
) -> dict[InferenceOptions, dict]:
    """Segments the frames of a benchmark that count in several ways at once, and scores each by J.

    Args:
      segmenter: whose network segments.
      sequences: see `score.score_masks`.
      settings: the ways.
      protocol: the benchmark's rules.

    Returns:
      What `score.average_scores` returns for each setting.
    """
    scored: dict[InferenceOptions, dict] = {setting: {} for setting in settings}

    def all_frames():
        for sequence in sequences:
            truths, counted = read_ground_truth(sequence, protocol)
            frames = [sequence.frames[i] for i in counted]
            lists = [[] for _ in settings]
            segmented = read_ahead(segmenter.stream_settings(SequenceFrames(sequence), settings, counted))
            for i in sequence.annotated:
                if i in counted:
                    for values, probability in zip(lists, next(segmented), strict=True):
                        values.append(jaccard(probability > 0.5, truths[i]))
                yield
            for setting, values in zip(settings, lists, strict=True):
                scored[setting][sequence.name] = {"frames": frames, "J": values}

    for _ in track(all_frames(), "comparing", sum(len(sequence.annotated) for sequence in sequences)):
        pass
    return {setting: average_scores(sequence_scores, protocol, ("J",)) for setting, sequence_scores in scored.items()}
