"""Prepares a raw dataset: checks all its files, writes the records and puts them in place."""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
import sys
from pathlib import Path

import tensorflow_datasets as tfds

from cosnet_jax import parallel
from cosnet_jax.data.builders.base import FramesBuilder, Scan, check_problems
from cosnet_jax.data.builders.davis16 import Davis16
from cosnet_jax.data.builders.fbms import Fbms
from cosnet_jax.data.builders.stills import DutOmron, Duts, Msra10k, Stills
from cosnet_jax.data.builders.videos import Videos
from cosnet_jax.data.builders.youtube_objects import YoutubeObjects
from cosnet_jax.data.config import split_names
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import claimed, expanded, report_read_errors, report_write_errors, writable_folder

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
DEFAULT_DATA_DIR = "~/.cache/cosnet_jax"


def prepare(dataset: str, source: str, data_dir: str) -> list[Path]:
    """Returns the folders of a prepared dataset; prepares it first if needed.

    With a source, the dataset is prepared unless it was prepared before from the same files (equal relative paths,
    sizes and modification times). Without a source, the prepared dataset is used as it is. An interrupted preparation
    leaves nothing that looks prepared. In a job of several processes the first one prepares while the others wait.

    Args:
      dataset: one of `BUILDERS`.
      source: folder of the raw dataset, or "" to use the prepared one. Of `stills` and `videos` one or more folders,
        separated by commas; each is a set or contains sets, which are called by the names of their folders.
      data_dir: where prepared datasets are kept, or "" for `~/.cache/cosnet_jax`.

    Returns:
      The folder of the records, or one for each set of `stills` and `videos`.

    Raises:
      InputError: the dataset is unknown, the source has another layout, damaged files, or masks that are all empty or
        all full, or there is neither a source nor a prepared dataset.
    """
    if dataset not in BUILDERS:
        raise InputError(f"dataset {dataset!r} is unknown: expected one of {', '.join((*BUILDERS, 'synthetic'))}")
    root = expanded(data_dir or DEFAULT_DATA_DIR).absolute()
    if not source:
        return _find_prepared(dataset, root)
    with parallel.first_before_others("prepared"), report_read_errors(source):
        return [_prepare_set(dataset, folder, scan, root) for folder, scan in _find_sets(dataset, source)]


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
    builder = BUILDERS[dataset]
    pattern = f"{'*/' * builder.SEVERAL}{builder.VERSION}/dataset_info.json"
    folders = sorted(path.parent for path in (root / builder.name).glob(pattern))
    if not folders:
        raise InputError(
            f"{dataset} is not prepared in {root}: set config.data.{dataset}.source to its raw folder, "
            f"or run `cosnet prepare {dataset} --source RAW --data-dir {root}`"
        )
    return folders


def _find_sets(dataset: str, source: str) -> list[tuple[Path, Scan]]:
    """Finds the folder of the raw dataset, or those of the sets of `stills` and `videos`, and scans it."""
    builder = BUILDERS[dataset]
    sets: dict[str, tuple[Path, Scan]] = {}
    for part in split_names(source) if builder.SEVERAL else [source]:
        folder = expanded(part).absolute()
        if not folder.is_dir():
            raise InputError(
                f"{folder} is not a folder: expected {builder.LAYOUT}; docs/datasets.md says where to get {dataset}"
            )
        inside = sorted(folder.glob("[!.]*/")) if builder.SEVERAL else []
        scans = {path: builder.scan(path) for path in (folder, *inside)}
        found = {path: scan for path, scan in scans.items() if scan.frames()}
        if not found:
            if near := _find_near(folder, builder):
                raise InputError(f"{folder} is not the folder of {dataset}; {near} looks like it: name that")
            check_problems(dataset, scans[folder].problems or [f"{folder} holds no frames: expected {builder.LAYOUT}"])
        for path, scan in found.items():
            if path.name in sets:
                raise InputError(f"{path} and {sets[path.name][0]} have the same name: expected different folder names")
            sets[path.name] = path, scan
    return list(sets.values())


def _find_near(folder: Path, builder: type[FramesBuilder]) -> Path | None:
    """Looks for a dataset one or two levels above a folder that is none, or one or two below."""
    below = (path for pattern in ("[!.]*/", "[!.]*/[!.]*/") for path in folder.glob(pattern))
    for path in (*folder.parents[:2], *itertools.islice(below, 1000)):
        with contextlib.suppress(OSError):  # a folder that may not be read
            if builder.scan(path).frames():
                return path
    return None


def _prepare_set(dataset: str, source: Path, scan: Scan, root: Path) -> Path:
    check_problems(dataset, scan.problems)
    fingerprint = scan.fingerprint(source)

    def make_builder() -> FramesBuilder:
        builder = BUILDERS[dataset]
        return builder(scan.splits, fingerprint, data_dir=root, config=source.name if builder.SEVERAL else None)

    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints
        builder = make_builder()
        path = Path(builder.data_path)
        if builder.info.metadata.get("fingerprint") == fingerprint:
            return path
        with claimed(writable_folder(root), f".{dataset}.lock", "prepares", wait=True):
            builder = make_builder()  # another process may just have prepared it
            if builder.info.metadata.get("fingerprint") != fingerprint:
                for outdated in (path, *path.parent.glob("incomplete.*")):  # of other files, and of killed processes
                    shutil.rmtree(outdated, ignore_errors=True)
                builder = make_builder()
                for note in scan.notes:
                    print(printable(f"note: {note}"), file=sys.stderr)
                tfds.disable_progress_bar()  # the builders show their own
                with report_write_errors(root):  # into a temporary folder, renamed when it is complete
                    builder.download_and_prepare()
    return path
