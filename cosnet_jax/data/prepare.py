"""Prepares a raw dataset: checks all its files, then writes the records and puts them in place."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import absl.logging
import tensorflow_datasets as tfds

from cosnet_jax import parallel
from cosnet_jax.data.builders.base import MAX_THREADS, FramesBuilder, Scan
from cosnet_jax.data.builders.davis16 import Davis16
from cosnet_jax.data.builders.dut_omron import DutOmron
from cosnet_jax.data.builders.duts import Duts
from cosnet_jax.data.builders.fbms import Fbms
from cosnet_jax.data.builders.msra10k import Msra10k
from cosnet_jax.data.builders.stills import Stills
from cosnet_jax.data.builders.videos import Videos
from cosnet_jax.data.builders.youtube_objects import YoutubeObjects
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import claimed, expanded, report_read_errors, writable_folder, write_text
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
      data_dir: folder of the prepared datasets, or "" for `~/.cache/cosnet_jax`.

    Returns:
      The folders with the prepared records: one, or one for each set of `stills` and `videos`.

    Raises:
      InputError: the dataset is unknown, the source has another layout or damaged files, or there is neither a source
        nor a prepared dataset.
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
    """Counts the sequences and frames of a prepared dataset.

    Args:
      folder: a folder from `prepare`.

    Returns:
      One line per split with the numbers of sequences, frames and annotated frames.
    """
    lines = []
    for split, index in tfds.builder_from_directory(folder).info.metadata["sequences"].items():
        frames = sum(len(entry["frames"]) for entry in index)
        annotated = sum(len(entry["frames"] if entry["annotated"] is None else entry["annotated"]) for entry in index)
        lines.append(f"{split}: {len(index)} sequences, {frames} frames, {annotated} of them annotated")
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
                f"{source} is not a folder: expected the raw {dataset} dataset there; docs/datasets.md says where to "
                "get it"
            )
        scan = BUILDERS[dataset].scan(source)
        scan.problems.extend(_undecodable_names(scan, source))
        if scan.problems:
            _report(name, scan, root)
        fingerprint = scan.fingerprint(source)
    builder = _make_builder(dataset, config, root)
    if _is_current(builder, fingerprint):
        return Path(builder.data_path)
    with claimed(writable_folder(root), f".{dataset}.lock", "prepares", wait=True):
        builder = _make_builder(dataset, config, root)  # another process may just have prepared it
        if not _is_current(builder, fingerprint):
            _check(builder, scan, name, root)
            _remove_outdated(Path(builder.data_path))
            _write(_make_builder(dataset, config, root), source)
    return Path(builder.data_path)


def _undecodable_names(scan: Scan, source: Path) -> list[str]:
    """Returns a line for each file of a source whose name, or whose folder's, TFDS cannot store."""
    files = [path for frame in scan.frames() for path in (frame.image, frame.mask) if path]
    return [
        f"{path}: expected a name in UTF-8, rename the file or its folder"
        for path in files
        if UNDECODABLE.search(os.path.join(source.name, os.path.relpath(path, source)))
    ]


def _is_current(builder: FramesBuilder, fingerprint: str) -> bool:
    return Path(builder.data_path).exists() and builder.info.metadata.get("fingerprint") == fingerprint


def _check(builder: FramesBuilder, scan: Scan, name: str, root: Path) -> None:
    """Reads every file of the source; raises an InputError if one is damaged or the disk is too full."""
    frames = scan.frames()
    checked = map_in_threads(builder.check_frame, ((frame, (frame,)) for frame in frames), MAX_THREADS)
    for _, problems in track(checked, f"checking {name}", total=len(frames)):
        scan.problems.extend(problems)
    if scan.problems:
        _report(name, scan, root)
    for note in scan.notes:
        print(printable(f"note: {note}"), file=sys.stderr)
    needed = sum(path.stat().st_size for frame in frames for path in (frame.image, frame.mask) if path)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise InputError(f"{root} has {free / 1e6:.0f} MB free: expected {needed / 1e6:.0f} MB for {name}")


def _remove_outdated(target: Path) -> None:
    """Removes an earlier version, which disappears for readers in one step, and remains of interrupted preparations."""
    if target.exists():
        target.rename(target.with_name(f"{target.name}.incomplete_outdated"))
    for leftover in target.parent.glob(f"{target.name}.incomplete*"):
        shutil.rmtree(leftover)


def _write(builder: FramesBuilder, source: Path) -> None:
    """Writes the records. TFDS writes to a temporary folder and renames it when it is complete."""
    with _quiet_tfds():
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=source))


def _make_builder(dataset: str, config: str | None, root: Path) -> FramesBuilder:
    with _quiet_tfds():
        return BUILDERS[dataset](data_dir=root, config=tfds.core.BuilderConfig(name=config) if config else None)


def _report(name: str, scan: Scan, root: Path) -> None:
    """Raises an InputError with the problems of a scan; a long list goes to a file that the error names."""
    problems = scan.problems
    if len(problems) == 1:
        raise InputError(problems[0])
    shown = "; ".join(problems[:PROBLEMS_SHOWN])
    if len(problems) <= PROBLEMS_SHOWN:
        raise InputError(f"{name} has {len(problems)} problems: {shown}")
    listing = root / printable(f"{name.replace('/', '_')}_problems.txt")
    writable_folder(root)
    write_text(listing, "".join(f"{printable(problem)}\n" for problem in problems))
    raise InputError(f"{name} has {len(problems)} problems, all of them listed in {listing}; the first: {shown}")


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
