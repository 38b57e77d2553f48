"""Prepares a raw dataset: checks all its files, then writes the records and puts them in place."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import absl.logging
import numpy as np
import tensorflow_datasets as tfds

from cosnet_jax import parallel
from cosnet_jax.data.builders.base import MAX_THREADS, FramesBuilder, Scan
from cosnet_jax.data.builders.davis16 import Davis16
from cosnet_jax.data.builders.fbms import Fbms
from cosnet_jax.data.builders.folders import find_near
from cosnet_jax.data.builders.stills import DutOmron, Duts, Msra10k, Stills
from cosnet_jax.data.builders.videos import Videos
from cosnet_jax.data.builders.youtube_objects import YoutubeObjects
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import claimed, expanded, report_read_errors, report_write_errors, writable_folder, write_text
from cosnet_jax.progress import track
from cosnet_jax.threads import map_in_threads

BUILDERS: dict[str, type[FramesBuilder]] = {
    "davis16": Davis16,
    "fbms": Fbms,
    "youtube_objects": YoutubeObjects,
    "duts": Duts,
    "msra10k": Msra10k,
    "dut_omron": DutOmron,
    "stills": Stills,
    "videos": Videos,
}
SET_FINDERS = {"stills": Stills.find_sets, "videos": Videos.find_sets}  # of datasets of several sets
DEFAULT_DATA_DIR = "~/.cache/cosnet_jax"
PROBLEMS_SHOWN = 3
UNDECODABLE = re.compile("[\ud800-\udfff]")  # in a name: bytes that are no UTF-8


def prepare(dataset: str, source: str, data_dir: str) -> list[Path]:
    """Returns the folders of a prepared dataset; prepares it first if needed.

    With a source, the dataset is prepared unless it was prepared before from the same files (equal relative paths,
    sizes and modification times). Without a source, the prepared dataset is used as it is. An interrupted preparation
    leaves nothing that looks prepared. In a job of several processes the first one prepares while the others wait.

    Args:
      dataset: one of `BUILDERS`.
      source: folder of the raw dataset, or "" to use the prepared one.
      data_dir: where prepared datasets are kept, or "" for `~/.cache/cosnet_jax`.

    Returns:
      The folder of the records, or one for each set of `stills` and `videos`.

    Raises:
      InputError: the dataset is unknown, the source has another layout, damaged files, or masks that are all empty or
        all full, or there is neither a source nor a prepared dataset.
    """
    if dataset not in BUILDERS:
        raise InputError(f"dataset {dataset!r} is unknown: expected one of {', '.join(sorted(BUILDERS))}")
    root = expanded(data_dir or DEFAULT_DATA_DIR).absolute()
    if not source:
        return _find_prepared(dataset, root)
    with parallel.first_before_others("prepared"):
        if dataset in SET_FINDERS:  # each set is prepared separately, so that sets can be added
            with report_read_errors(source):
                sets = SET_FINDERS[dataset](source)
            return [_prepare_folder(dataset, name, folder, root) for name, folder in sets.items()]
        return [_prepare_folder(dataset, None, expanded(source).absolute(), root)]


def describe_prepared(folder: Path) -> list[str]:
    """Counts sequences, frames and annotated frames of a prepared dataset, and their foreground: a line a split."""
    metadata = tfds.builder_from_directory(folder).info.metadata
    lines = []
    for split, index in metadata["sequences"].items():
        frames = sum(len(entry["frames"]) for entry in index)
        annotated = sum(len(entry["frames"] if entry["annotated"] is None else entry["annotated"]) for entry in index)
        count = f"{len(index)} sequences, {frames} frames, {annotated} of them annotated"
        lines.append(f"{split}: {count}, {metadata['foreground'][split]:.1%} foreground")
    return lines


def _find_prepared(dataset: str, root: Path) -> list[Path]:
    version = str(BUILDERS[dataset].VERSION)
    pattern = f"*/{version}/dataset_info.json" if dataset in SET_FINDERS else f"{version}/dataset_info.json"
    folders = sorted(path.parent for path in (root / BUILDERS[dataset].name).glob(pattern))
    if not folders:
        raise InputError(
            f"{dataset} is not prepared in {root}: set config.data.{dataset}.source to its raw folder, "
            f"or run `cosnet prepare {dataset} --source RAW --data-dir {root}`"
        )
    return folders


def _prepare_folder(dataset: str, config: str | None, source: Path, root: Path) -> Path:
    name = f"{dataset}/{config}" if config else dataset
    with report_read_errors(source):
        if not source.is_dir():
            raise InputError(
                f"{source} is not a folder: expected the raw {dataset} set; docs/datasets.md says where to get it"
            )
        scan = BUILDERS[dataset].scan(source)
        if not scan.frames() and (near := find_near(source, BUILDERS[dataset].is_source)):
            raise InputError(f"{source} is not the folder of {dataset}, {near} looks like it: name that")
        for frame in scan.frames():
            if UNDECODABLE.search(frame.sequence + frame.name):  # TFDS cannot store it
                scan.problems.append(f"{frame.image}: expected a name in UTF-8, rename the file or its folder")
        _report(name, scan, root)
        fingerprint = scan.fingerprint(source)
    builder = _make_builder(dataset, config, root)
    if _is_current(builder, fingerprint):
        return Path(builder.data_path)
    with claimed(writable_folder(root), f".{dataset}.lock", "prepares", wait=True):
        builder = _make_builder(dataset, config, root)  # another process may just have prepared it
        if not _is_current(builder, fingerprint):
            with report_read_errors(source):
                foreground = _check(builder, scan, name, root)
            _remove_outdated(Path(builder.data_path))
            builder = _make_builder(dataset, config, root)
            builder.foreground = foreground
            with report_write_errors(root), _quiet_tfds():  # into a temporary folder, renamed when it is complete
                builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=source))
    return Path(builder.data_path)


def _is_current(builder: FramesBuilder, fingerprint: str) -> bool:
    return Path(builder.data_path).exists() and builder.info.metadata.get("fingerprint") == fingerprint


def _check(builder: FramesBuilder, scan: Scan, name: str, root: Path) -> dict[str, float]:
    """Reads every file of the source and returns the share of foreground of each split; raises an InputError if a file
    is damaged, or all masks are empty or full."""
    tasks = (((split, frame), (frame,)) for split, frames in scan.splits.items() for frame in frames)
    checked = map_in_threads(builder.check_frame, tasks, MAX_THREADS)
    shares: dict[str, list[float]] = {split: [] for split in scan.splits}
    for (split, _), (problems, share) in track(checked, f"checking {name}", total=len(scan.frames())):
        scan.problems.extend(problems)
        if share is not None:
            shares[split].append(share)
    every = [share for split in shares.values() for share in split]
    if every and min(every) == max(every) and every[0] in (0, 1):
        kind = "full" if every[0] else "empty"
        example = next(frame.mask for frame in scan.frames() if frame.mask)
        scan.problems.append(f"{name}: all {len(every)} masks are {kind}; expected objects, look at {example}")
    _report(name, scan, root)
    for note in scan.notes:
        print(printable(f"note: {note}"), file=sys.stderr)
    return {split: float(np.mean(found)) if found else 0.0 for split, found in shares.items()}


def _remove_outdated(target: Path) -> None:
    """Removes an earlier version, which disappears for readers in one step, and remains of interrupted preparations."""
    if target.exists():
        target.rename(target.with_name(f"{target.name}.incomplete_outdated"))
    for leftover in target.parent.glob(f"{target.name}.incomplete*"):
        shutil.rmtree(leftover)


def _make_builder(dataset: str, config: str | None, root: Path) -> FramesBuilder:
    with _quiet_tfds():
        return BUILDERS[dataset](data_dir=root, config=tfds.core.BuilderConfig(name=config) if config else None)


def _report(name: str, scan: Scan, root: Path) -> None:
    """Raises an InputError if a scan has problems; a long list goes to a file that the error names."""
    problems, count = scan.problems, len(scan.problems)
    if not problems:
        return
    shown = "; ".join(problems[:PROBLEMS_SHOWN])
    if count <= PROBLEMS_SHOWN:
        raise InputError(shown if count == 1 else f"{name} has {count} problems: {shown}")
    listing = writable_folder(root) / printable(f"{name.replace('/', '_')}_problems.txt")
    write_text(listing, "".join(f"{printable(problem)}\n" for problem in problems))
    raise InputError(f"{name} has {count} problems, all of them listed in {listing}; the first: {shown}")


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Hides the progress bars and messages of TFDS; the builders show their own progress."""
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        absl.logging.set_verbosity(verbosity)
