"""Weights, checkpoints, records and settings as inputs: what is read with JAX."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from faults.kinds import Kind
from faults.mutations import mutate_text
from tiny_network import random_variables, tiny_synthetic, write_checkpoint

from configs import synthetic
from cosnet_jax.checkpoints.initial import load_initial_weights
from cosnet_jax.checkpoints.store import load_checkpoint
from cosnet_jax.checkpoints.weights_file import export_weights, read_weights_file
from cosnet_jax.commands.segment_video import read_record
from cosnet_jax.config import check_config, read_config
from cosnet_jax.data.augment import Augmentation
from cosnet_jax.inference import crf
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.models.build import build_model
from cosnet_jax.training.metric_log import METRICS_FILE, find_metrics
from cosnet_jax.training.workdir import CONFIG_FILE, claim_workdir
from cosnet_jax.video.find import RECORD
from cosnet_jax.visualization import plots

VALIDATION_SCORES = {"J": "J"}


def make_weights(folder: Path) -> list[str]:
    """A weights file, and backbone weights as `config.init` takes them."""
    config = tiny_synthetic()
    variables = random_variables(build_model(config.model), config.seed)
    export_weights(folder / "a.npz", variables, config)
    body, arrays = variables["params"]["encoder"]["body"], {}
    for block, parts in body.items():
        for part, leaves in parts.items():
            for name, leaf in leaves.items() if isinstance(leaves, dict) else {}:
                if not isinstance(leaf, dict):
                    arrays[f"{block}/{part}/{name}"] = np.asarray(leaf)
    np.savez(folder / "init.npz", **arrays)
    return ["a.npz", "init.npz"]


def read_weights(_: Path, file: Path) -> None:
    if file.name == "init.npz":
        load_initial_weights(_tiny_variables(), str(file))
        return
    variables, config = read_weights_file(file)
    Segmenter.from_config(config, variables)
    crf.params_from_config(config.inference.get("crf"))


@functools.cache
def _tiny_variables() -> dict[str, Any]:
    config = tiny_synthetic()
    return random_variables(build_model(config.model), config.seed)


def make_checkpoint(folder: Path) -> list[str]:
    """A checkpoint of the tiny network."""
    write_checkpoint(tiny_synthetic(), folder / "checkpoints", step=1)
    return [str(path.relative_to(folder)) for path in (folder / "checkpoints").glob("**/*") if path.is_file()]


def read_checkpoint(folder: Path, _: Path) -> None:
    variables, config = load_checkpoint(folder)
    Segmenter.from_config(config, variables)


def make_records(folder: Path) -> list[str]:
    """The files of a working directory and of a folder of results that are read again."""
    kinds = [{"step": step, "kind": "video", "loss": 0.5, "side": 0.1} for step in range(1, 9)]
    records = [*kinds, {"step": 8, "kind": "validation", "J": 0.5, "J_single_frame": 0.25}]
    (folder / METRICS_FILE).write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / CONFIG_FILE).write_text(json.dumps(synthetic.get_config().to_dict(), indent=1) + "\n")
    (folder / RECORD).write_text(json.dumps({"version": "1", "size": [32, 32], "input": {"name": "a", "frames": 3}}))
    return [METRICS_FILE, CONFIG_FILE, RECORD]


def read_records(folder: Path, file: Path) -> None:
    if file.name == RECORD:
        read_record(folder)
    elif file.name == CONFIG_FILE:
        claim_workdir(synthetic.get_config(), folder)
    else:
        records = find_metrics(folder)
        for figure in (plots.training_curves(records), plots.validation_curves(records, VALIDATION_SCORES)):
            if figure is not None:
                plots.svg(figure)


OVERRIDES = (
    "--config.optimizer.learning_rate=1e-3", "--config.size=(65,65)", "--config.model.backbone=resnet50",
    "--config.model.aspp_rates=(2,4)", "--config.data.hold_out=bear,camel", "--config.model.prelu=False",
    "--config.inference.sampling=random", "--config.inference.num_references=3", "--config.step_pattern=still,video",
    "--config.batch_size=2", "--config.data.augment.scale=(0.5,2.0)", "--config.inference.crf.iterations=3",
    "--config.stopped_status=75", "--config.head_dropout=0.1", "--config.model.blocks=4",
    "--config.data.video_weights=a=1",
)  # fmt: skip


def make_overrides(folder: Path) -> list[str]:
    """Command lines."""
    for number, override in enumerate(OVERRIDES):
        (folder / f"{number}.txt").write_text(override)
    shutil.copy(synthetic.__file__, folder / "synthetic.py")
    return [f"{number}.txt" for number in range(len(OVERRIDES))]


def read_override(folder: Path, file: Path) -> None:
    config = read_config(str(folder / "synthetic.py"), [file.read_bytes().decode(errors="surrogateescape")])
    check_config(config)
    model = build_model(config.model, "batch", config.head_dropout)
    Segmenter.from_config(config, {})
    Augmentation.from_config(config.data.augment)
    crf.params_from_config(config.inference.crf)
    del model


KINDS = (
    Kind("weights file", make_weights, read_weights),
    Kind("checkpoint folder", make_checkpoint, read_checkpoint),
    Kind("records", make_records, read_records, mutate_text),
    Kind("override", make_overrides, read_override, mutate_text),
)
