"""Checkpoints of a training on disk. No other folder imports orbax.

A folder of checkpoints holds `<step>/` folders, each with the training state, the configuration it was trained with,
the position of the data iterators, and `SHA256SUMS` of all of these, which `sha256sum -c SHA256SUMS` reads too. A
checkpoint appears under its name only when it is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from cosnet_jax import parallel
from cosnet_jax.config import parse_config
from cosnet_jax.errors import InputError, interruption_in, printable
from cosnet_jax.files import expanded, write_text
from cosnet_jax.models.parameters import differing_names, named_leaves

LATEST, BEST = "checkpoints", "best"
SUMS = "SHA256SUMS"
DAMAGED, OUTDATED = ".damaged", ".outdated"  # suffixes of checkpoints that were set aside
WRITTEN = "a folder that `cosnet train` (--workdir) or `cosnet convert` (--output) wrote"


class Damaged(Exception):
    """A checkpoint cannot be read, or is not what was written. The message says why."""


class CheckpointFolder:
    """A folder of checkpoints that is being written, by one training at a time."""

    def __init__(self, folder: Path, keep: int):
        """Opens or creates the folder, and removes what a killed training left of a checkpoint.

        Args:
          folder: where the checkpoints are.
          keep: how many of the newest stay.
        """
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            cleanup_tmp_directories=True,
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._write_sums),
            # Processes that wait for each other while two folders are written must know for which they wait.
            multiprocessing_options=ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=folder.name),
        )
        self._folder = folder.absolute()
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def _write_sums(self) -> None:
        """Writes the checksums of a checkpoint whose files are complete, before it gets its name."""
        if parallel.is_first():
            for temporary in ocp.utils.tmp_checkpoints(self._folder):
                folder = Path(temporary.get())
                write_text(folder / SUMS, checksums(folder))

    def save(self, step: int, state: Any, config: ConfigDict, progress: dict[str, Any]) -> None:
        """Writes a checkpoint, unless the newest is of that step. Those of later steps are set aside.

        It returns as soon as the state is copied; files are written while the training goes on.

        Args:
          step: its name.
          state: a tree of arrays.
          config: the whole configuration.
          progress: JSON-able; what else it takes to go on (positions of the data iterators, best score so far).

        Raises:
          InputError: this checkpoint or the one before cannot be written, e.g. on a full disk.
        """
        if self._manager.latest_step() == step:
            return
        items = {
            "state": ocp.args.StandardSave(parallel.to_global(state)),
            "config": ocp.args.JsonSave(config.to_dict()),
            "progress": ocp.args.JsonSave(progress),
        }
        with naming_errors(self._unwritable):
            self._manager.wait_until_finished()
            self.set_aside_from(step + 1)
            self._manager.save(step, args=ocp.args.Composite(**items))

    def _unwritable(self, reason: str) -> InputError:
        return InputError(f"{self._folder}: a checkpoint cannot be written ({reason})")

    def set_aside_from(self, step: int) -> None:
        """Renames the checkpoints of this step and later ones `<step>.outdated`: their steps are taken again.

        That is so where a training starts again, or goes on from an earlier checkpoint because the newest is damaged.
        """
        for outdated in [there for there in self._manager.all_steps() if there >= step]:
            self._set_aside(outdated, "is of steps taken again", OUTDATED)

    def _set_aside(self, step: int, reason: str, suffix: str) -> None:
        """Renames a checkpoint, so that nothing takes it for one and its owner can still look at it."""
        folder, target = self._folder / str(step), self._folder / f"{step}{suffix}"

        def rename() -> None:
            shutil.rmtree(target, ignore_errors=True)
            folder.rename(target)

        parallel.say(printable(f"checkpoint: {folder} {reason}; it is now {target.name}"))
        parallel.on_first(rename)
        self._manager.reload()

    def restore_newest(self, like: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """Reads the newest checkpoint that is whole. Damaged ones are named, renamed `<step>.damaged` and left out.

        Args:
          like: a state of the same shapes.

        Returns:
          (step, state, progress), or None if no checkpoint is whole.

        Raises:
          InputError: the stored state is of another architecture.
        """
        while (step := self._manager.latest_step()) is not None:
            folder = self._folder / str(step)
            state = ocp.args.StandardRestore(parallel.to_global(like))
            items = ocp.args.Composite(state=state, progress=ocp.args.JsonRestore())
            try:
                with naming_errors(Damaged):
                    check_sums(folder)
                    if names := differing_names(named_leaves(stored_shapes(folder)), named_leaves(like)):
                        shown = f"{len(names)} arrays differ, e.g. {names[0]}"
                        raise InputError(f"checkpoint: {folder} is of another architecture ({shown})")
                    restored = self._manager.restore(step, args=items)
                return step, parallel.to_local(restored["state"]), restored["progress"]
            except Damaged as damage:
                self._set_aside(step, f"is damaged ({damage})", DAMAGED)
        return None

    def close(self) -> None:
        """Waits until everything is written, and releases the folder.

        Raises:
          InputError: the last checkpoint cannot be written.
        """
        with naming_errors(self._unwritable):
            self._manager.close()


@contextlib.contextmanager
def naming_errors(problem: Callable[[str], Exception]) -> Iterator[None]:
    """Makes one `problem` of all that orbax and tensorstore raise on damaged files and full disks.

    They also catch what a signal raises, and raise an error of their own; then the signal's goes on upwards.
    """
    try:
        yield
    except (Damaged, InputError):
        raise
    except Exception as error:
        if interruption := interruption_in(error):
            raise interruption from None
        first_line = str(error).partition("\n")[0][:300]
        raise problem(f"{type(error).__name__}: {first_line}") from error


def checksums(folder: Path) -> str:
    """Returns the lines of `SHA256SUMS`: digest and name of every file of a checkpoint's items."""
    lines = []
    for path in sorted(path for path in folder.glob("*/**/*") if path.is_file()):
        with open(path, "rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.relative_to(folder).as_posix()}\n")
    return "".join(lines)


def check_sums(folder: Path) -> None:
    """Raises `Damaged` if a file of a checkpoint is not what `SHA256SUMS` says; one without sums is not checked."""
    sums = (folder / SUMS).read_text().splitlines() if (folder / SUMS).exists() else []
    found = set(checksums(folder).splitlines())
    for line in sums:
        if line not in found and "/" in line:  # orbax changes its own files beside the items
            raise Damaged(f"{line.partition('  ')[2]} changed since it was written")


def find_checkpoint(path: str | os.PathLike[str]) -> Path:
    """The folder of one checkpoint.

    Args:
      path: a checkpoint, a folder of checkpoints (then the newest), or a training's working directory (then the best by
        validation, or the newest if none was validated).

    Returns:
      The `<step>` folder.

    Raises:
      InputError: if there is no checkpoint there.
    """
    path = expanded(path)
    if not path.is_dir():
        raise InputError(f"checkpoint: {path} does not exist; expected a weights file (.safetensors), or {WRITTEN}")
    for folder in (path, path / BEST, path / LATEST):
        if (folder / "_CHECKPOINT_METADATA").is_file() and (folder / "state").is_dir():
            return folder.absolute()
        steps = [int(state.parent.name) for state in folder.glob("*/state") if state.parent.name.isdecimal()]
        if steps:
            return (folder / str(max(steps))).absolute()
    raise InputError(f"checkpoint: {path} holds no checkpoint, {LATEST}/<step>/ or <step>/; expected {WRITTEN}")


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Any], ConfigDict]:
    """Reads what inference needs from a checkpoint: its averaged parameters, if it has them, and its configuration.

    Args:
      path: as in `find_checkpoint`.

    Returns:
      ({"params": ..., "batch_stats": ...}, the configuration it was trained with).

    Raises:
      InputError: if there is no readable checkpoint.
    """
    folder = find_checkpoint(path)
    try:
        with naming_errors(Damaged), ocp.Checkpointer(ocp.CompositeCheckpointHandler("state", "config")) as reader:
            check_sums(folder)
            shapes = stored_shapes(folder)
            params = "average" if shapes.get("average") else "params"
            wanted = {name: shapes[name] for name in (params, "batch_stats") if shapes.get(name)}
            place = ocp.ArrayRestoreArgs(restore_type=jax.Array, sharding=parallel.first_local_device())
            places = jax.tree.map(lambda _: place, wanted)
            state = ocp.args.PyTreeRestore(wanted, restore_args=places, partial_restore=True)
            restored = reader.restore(folder, ocp.args.Composite(state=state, config=ocp.args.JsonRestore()))
            config = parse_config(ConfigDict(restored["config"]).to_json())
    except Damaged as damage:
        raise InputError(
            f"checkpoint: {folder} cannot be read ({damage}); copy it again, or name another <step> folder"
        ) from None
    variables = restored["state"]
    return {"params": variables[params], "batch_stats": variables.get("batch_stats", {})}, config


def stored_shapes(folder: Path) -> Any:
    """The tree of shapes and types that a checkpoint's state has."""
    tree = ocp.PyTreeCheckpointHandler().metadata(folder / "state").tree
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
