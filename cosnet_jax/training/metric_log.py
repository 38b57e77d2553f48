"""The record of a training: one JSON object a line, and the same for TensorBoard."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from cosnet_jax.files import expanded, report_write_errors, write_text

METRICS_FILE = "metrics.jsonl"
LARGEST = 1e300  # of the numbers in a record; no training writes larger ones


class MetricLog:
    """Appends records to `metrics.jsonl` and TensorBoard's event files."""

    def __init__(self, workdir: Path, first_step: int, writes: bool = True, validation_due: bool = False):
        """Opens the log; records of steps after `first_step`, written by a run that was cut off, are dropped.

        Args:
          workdir: the training's working directory.
          first_step: the step training (re)starts from.
          writes: whether this process writes; of several processes one does.
          validation_due: whether the validation of `first_step` comes now. A record of it, by a run that was cut off
            before its next checkpoint, is dropped too.
        """
        self._file: TextIO | None = None
        if not writes:
            return
        path = workdir / METRICS_FILE
        kept = [record for record in read_metrics(path) if record["step"] <= first_step] if path.is_file() else []
        if validation_due:
            kept = [record for record in kept if (record["step"], record["kind"]) != (first_step, "validation")]
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._path = path
        with report_write_errors(path):
            self._file = path.open("a")
        self._events = EventFile(workdir / "tensorboard", first_step + 1)

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """Adds one record.

        Args:
          step: steps done.
          kind: "still", "video" or "validation".
          values: scalars by name.

        Raises:
          InputError: it cannot be written (full disk).
        """
        if self._file is None:
            return
        values = {name: float(value) for name, value in values.items()}
        with report_write_errors(self._path):
            self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
            self._file.flush()
        self._events.write(step, {f"{kind}/{name}": value for name, value in values.items()})

    def close(self) -> None:
        """Closes the files. Every record is on disk already."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # what is left of a record that could not be written
                self._file.close()
            with contextlib.suppress(OSError):
                self._events.close()


class EventFile:
    """A file of events for TensorBoard.

    `SummaryWriter` would write it in a thread, which a full disk ends: then the training waits for it for ever.
    """

    def __init__(self, folder: Path, purge_step: int):
        """Opens a new file in a folder; TensorBoard drops what older ones have from `purge_step` on."""
        tensorboardx = _import_tensorboardx()
        messages = tensorboardx.proto.event_pb2
        self._folder, self._event, self._scalar = folder, messages.Event, tensorboardx.summary.scalar
        with report_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = tensorboardx.event_file_writer.EventsWriter(str(folder / "events"), f".{os.getpid()}")
        self._add(purge_step, {"session_log": messages.SessionLog(status=messages.SessionLog.START)})

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Adds scalars by tag; raises an InputError if they cannot be written."""
        self._add(step, *({"summary": self._scalar(tag, value)} for tag, value in scalars.items()))

    def _add(self, step: int, *events: dict[str, Any]) -> None:
        with report_write_errors(self._folder):
            for contents in events:
                self._writer.write_event(self._event(wall_time=time.time(), step=step, **contents))
            self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _import_tensorboardx() -> Any:
    """Imports the library without torch, which it would import if there is one; that takes seconds and is not used."""
    hidden: dict[str, Any] = {} if "torch" in sys.modules else {"torch": None}
    sys.modules.update(hidden)
    try:
        import tensorboardX
        import tensorboardX.event_file_writer
    finally:
        for name in hidden:
            del sys.modules[name]
    return tensorboardX


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`, in order; lines that were cut off or damaged are left out."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [record for line in lines if (record := _parse_record(line)) is not None]


def _parse_record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("step")) is not int or not isinstance(record.get("kind"), str):
        return None
    numbers = [value for name, value in record.items() if name != "kind"]
    return record if all(type(value) in (int, float) and abs(value) < LARGEST for value in numbers) else None


def find_metrics(checkpoint: str | Path) -> list[dict[str, Any]]:
    """Reads the training log of a checkpoint.

    Args:
      checkpoint: a checkpoint, a folder of checkpoints, or the working directory of a training.

    Returns:
      The records of the `metrics.jsonl` that lies there or up to two folders above; [] if there is none.
    """
    checkpoint = expanded(checkpoint)
    for folder in (checkpoint, *checkpoint.absolute().parents[:2]):
        if (folder / METRICS_FILE).is_file():
            return read_metrics(folder / METRICS_FILE)
    return []
