"""Scores a checkpoint, or a folder of masks, on a benchmark.

    python evaluate.py --config=configs/davis16.py --workdir=OUT (--checkpoint=DIR | --predictions=DIR)

Writes `OUT/results.json`, the tables as `OUT/results.md`, `OUT/masks/<sequence>/<frame>.png` and `OUT/report.html`.
"""

from pathlib import Path

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from cosnet_jax.checkpoints import store as checkpoints
from cosnet_jax.config import as_stored, check_config, inference_size, run
from cosnet_jax.data.sequences import open_sequences
from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.results_file import write_results
from cosnet_jax.evaluation.score import check_scoring, score_masks
from cosnet_jax.files import atomic_write, writable_folder
from cosnet_jax.inference import crf
from cosnet_jax.inference.segmenter import InferenceOptions, Segmenter
from cosnet_jax.models.build import build_model
from cosnet_jax.progress import track
from cosnet_jax.report.evaluation_report import markdown, write_report
from cosnet_jax.report.page import Image, Section
from cosnet_jax.report.tables import percent, score_table
from cosnet_jax.training.metric_log import METRICS_FILE, read_metrics
from cosnet_jax.video.frames import SequenceFrames
from cosnet_jax.video.images import encode_mask
from cosnet_jax.video.photograph import photograph_clip
from cosnet_jax.visualization.overlays import overlay


def evaluate(config: ConfigDict, workdir: Path, checkpoint: str | None, predictions: str | None) -> dict:
    """Segments a benchmark, scores the masks and writes the report.

    Args:
      config: the whole configuration; its model must be the checkpoint's.
      workdir: gets `results.json`, `results.md`, `report.html`, `masks/` and, for comparison, `single_frame/` (N = 0).
      checkpoint: see `checkpoints.find`; or
      predictions: a folder of masks made elsewhere.

    Returns:
      The contents of `results.json`.

    Raises:
      InputError: if the data, the checkpoint or the masks do not fit.
    """
    check_config(config)
    params = crf.configured(config.inference.crf)
    workdir = writable_folder(workdir)
    segmenter = make_segmenter(config, checkpoint) if checkpoint else None
    sequences = open_sequences(config.data.eval_dataset, config.data.eval_split, config.data)
    protocol = "davis16" if config.data.eval_dataset == "synthetic" else config.data.eval_dataset
    check_scoring(sequences, protocol, config.evaluation.metrics.split(","))
    about = {"dataset": config.data.eval_dataset, "split": config.data.eval_split, "config": as_stored(config)}

    def score(masks: Path, metrics: str) -> dict:
        return score_masks(sequences, masks, protocol, metrics.split(","), **about)

    metadata, sections, records = {"configuration": config.name}, [], []
    if segmenter:
        masks, single_frame = workdir / "masks", workdir / "single_frame"
        segment_all(segmenter, sequences, [masks, single_frame], params)
        results = score(masks, config.evaluation.metrics)
        alone = score(single_frame, "J")
        results["single_frame"] = {"J": alone["J"]}
        metadata["checkpoint"] = str(checkpoint)
        metadata["references"] = f"{segmenter.setting.num_references}, {segmenter.setting.sampling}"
        metadata["CRF"] = "yes" if params else "no"
        if "J" in results:
            runs = {"co-attention": results, "the same network, N = 0": alone}
            gain = 100 * (results["J"]["mean"] - alone["J"]["mean"])
            text = f"Co-attention adds {gain:+.1f} points of mean J to what the same network sees in a single frame."
            sections = [Section("What the references add", [text, score_table(runs, dataset=None)])]
        records = training_records(Path(checkpoint))
    else:
        masks = Path(predictions)
        metadata["masks"] = predictions
        results = score(masks, config.evaluation.metrics)

    if config.evaluation.sample:
        sections.append(sample_section())
    write_results(workdir / "results.json", results)
    with atomic_write(workdir / "results.md") as temporary:
        temporary.write_text(markdown(results), encoding="utf-8")
    write_report(
        workdir / "report.html", f"COSNet on {about['dataset']}", results, metadata=metadata, sequences=sequences,
        masks_dir=masks, training_records=records, sections=sections,
    )  # fmt: skip
    return results


def sample_section(num_frames: int = 6) -> Section:
    """What the shipped model makes of a camera that moves over a photograph."""
    frames = photograph_clip(num_frames)
    maps = Segmenter.pretrained(num_references=num_frames - 1)(frames)
    pictures = [Image(overlay(frame, probability > 0.5)) for frame, probability in zip(frames, maps, strict=True)]
    text = "The model in the package, trained on real video, on a portrait that it has never seen."
    return Section("The shipped model on a photograph", [text, pictures])


def training_records(checkpoint: Path) -> list[dict]:
    """The log of the training that a checkpoint is of, wherever in its working directory it is; [] without one."""
    folders = (checkpoint, *checkpoint.absolute().parents[:2])
    log = next((folder / METRICS_FILE for folder in folders if (folder / METRICS_FILE).is_file()), None)
    return read_metrics(log) if log else []


def make_segmenter(config: ConfigDict, checkpoint: str) -> Segmenter:
    """Builds the segmenter of `config.inference` with a checkpoint's weights.

    Raises:
      InputError: if the checkpoint is of another model than the configuration's.
    """
    variables = checkpoints.load_matching(config, checkpoint)
    setting = InferenceOptions(
        config.inference.num_references, config.inference.sampling, config.inference.fusion, config.seed
    )
    return Segmenter(build_model(config.model), variables, inference_size(config), setting)


def segment_all(segmenter: Segmenter, sequences: list, folders: list[Path], params: crf.CRFParams | None) -> None:
    """Writes all masks, 0 or 255: the segmenter's into the first folder, those of N = 0 into the second.

    With `params`, a CRF sharpens the probabilities of both before, in other processes while the network goes on.
    """
    settings = [segmenter.setting, segmenter.setting._replace(num_references=0)]

    def all_maps():
        for sequence in sequences:
            for index, maps in enumerate(segmenter.stream_settings(SequenceFrames(sequence), settings)):
                for folder, probability in zip(folders, maps, strict=True):
                    path = folder / sequence.name / f"{sequence.frames[index]}.png"
                    yield path, sequence.image(index) if params else None, probability

    if params:
        final = crf.refine_stream(all_maps(), params)
    else:
        final = ((path, probability) for path, _, probability in all_maps())
    total = len(folders) * sum(len(sequence) for sequence in sequences)
    for path, probability in track(final, "segmenting", total):
        write_mask(path, probability > 0.5)


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Writes a mask (H, W) bool as a grey PNG of 0 and 255."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror})") from None
    with atomic_write(path) as temporary:
        temporary.write_bytes(encode_mask(mask))


def print_scores(results: dict, workdir: Path) -> None:
    """Prints the mean scores in percent, and where the report is."""
    scores = [f"{metric} {percent(results[metric]['mean'])}" for metric in ("J", "F", "T") if metric in results]
    if "J" in results.get("over_categories", {}):
        scores.append(f"J over categories {percent(results['over_categories']['J']['mean'])}")
    if "single_frame" in results:
        scores.append(f"J with N = 0 {percent(results['single_frame']['J']['mean'])}")
    print(f"{results['dataset']}: {', '.join(scores)}; report in {workdir / 'report.html'}")


def main(config: ConfigDict) -> None:
    """Evaluates as the flags say."""
    workdir = Path(WORKDIR.value)
    print_scores(evaluate(config, workdir, CHECKPOINT.value, PREDICTIONS.value), workdir)


if __name__ == "__main__":
    WORKDIR = flags.DEFINE_string("workdir", None, "Folder for the scores, the masks and the report.", required=True)
    CHECKPOINT = flags.DEFINE_string("checkpoint", None, "A checkpoint, or the working directory of a training.")
    PREDICTIONS = flags.DEFINE_string("predictions", None, "A folder of masks <sequence>/<frame>.png to score instead.")
    flags.mark_flags_as_mutual_exclusive(["checkpoint", "predictions"], required=True)
    run(main)
