"""Checkpoints of a training on disk. No other folder imports orbax.

A folder of checkpoints holds `<step>/` folders, each with the training state, the configuration it was trained with and
the position of the data iterators. A checkpoint appears under its name only when complete. Then it gets `SHA256SUMS`,
which `sha256sum -c SHA256SUMS` reads too, so that damage is noticed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from cosnet_jax import parallel
from cosnet_jax.config import parse_config
from cosnet_jax.errors import InputError, interruption_in, printable
from cosnet_jax.files import expanded, write_text
from cosnet_jax.models.parameters import named_leaves

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
            # Processes that wait for each other while two folders are written must know for which they wait.
            multiprocessing_options=ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=folder.name),
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

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
        with self._report_write_errors():
            self._seal()
            self.set_aside_from(step + 1)
            self._manager.save(step, args=ocp.args.Composite(**items))

    def _seal(self) -> None:
        """Waits until everything is written, and gives complete checkpoints their checksums."""
        self._manager.wait_until_finished()
        for step in self._manager.all_steps():
            folder = self._folder(step)
            if parallel.is_first() and not (folder / SUMS).exists():
                write_text(folder / SUMS, checksums(folder))

    def _folder(self, step: int) -> Path:
        return Path(self._manager.directory) / str(step)

    def set_aside_from(self, step: int) -> None:
        """Renames the checkpoints of this step and later ones `<step>.outdated`: their steps are taken again.

        That is so where a training starts again, or goes on from an earlier checkpoint because the newest is damaged.
        """
        for outdated in [there for there in self._manager.all_steps() if there >= step]:
            self._set_aside(outdated, "is of steps taken again", OUTDATED)

    def _set_aside(self, step: int, reason: str, suffix: str) -> None:
        folder = self._folder(step)
        parallel.say(printable(f"checkpoint: {folder} {reason}; it is now {folder.name}{suffix}"))
        parallel.on_first(functools.partial(set_aside, folder, suffix))
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
            folder = self._folder(step)
            items = {
                "state": ocp.args.StandardRestore(parallel.to_global(like)), "progress": ocp.args.JsonRestore()
            }  # fmt: skip
            try:
                with naming_damage():
                    check_sums(folder)
                    stored = stored_shapes(folder)
                check_fits(folder, stored, like)
                with naming_damage():
                    restored = self._manager.restore(step, args=ocp.args.Composite(**items))
                return step, parallel.to_local(restored["state"]), restored["progress"]
            except Damaged as damage:
                self._set_aside(step, f"is damaged ({damage})", DAMAGED)
        return None

    def close(self) -> None:
        """Waits until everything is written, and releases the folder.

        Raises:
          InputError: the last checkpoint cannot be written.
        """
        with self._report_write_errors():
            self._seal()
            self._manager.close()

    @contextlib.contextmanager
    def _report_write_errors(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # orbax and tensorstore have errors of their own for a full disk
            if interruption := interruption_in(error):
                raise interruption from None
            reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            raise InputError(f"{self._manager.directory}: a checkpoint cannot be written ({reason})") from error


def set_aside(folder: Path, suffix: str) -> None:
    """Renames a checkpoint, so that nothing takes it for one and its owner can still look at it."""
    number, target = 1, folder.with_name(f"{folder.name}{suffix}")
    while target.exists():
        number += 1
        target = folder.with_name(f"{folder.name}{suffix}{number}")
    folder.rename(target)


def checksums(folder: Path) -> str:
    """Returns the lines of `SHA256SUMS`: digest and name of every other file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}" for path in files
    ]
    return "\n".join(lines) + "\n"


def check_sums(folder: Path) -> None:
    """Raises `Damaged` if a file of a checkpoint is not what `SHA256SUMS` says; one without sums is not checked."""
    if (folder / SUMS).is_file() and (folder / SUMS).read_text() != checksums(folder):
        stored = set((folder / SUMS).read_text().splitlines())
        changed = sorted(line.partition("  ")[2] for line in stored ^ set(checksums(folder).splitlines()))
        raise Damaged(f"{changed[0] if changed else SUMS} changed since it was written")


@contextlib.contextmanager
def naming_damage() -> Iterator[None]:
    """Turns what the parsers of orbax and tensorstore raise on damaged files into `Damaged`."""
    try:
        yield
    except (Damaged, InputError):
        raise
    except Exception as error:
        if interruption := interruption_in(error):
            raise interruption from None
        reason = str(error).splitlines()[0][:200] if str(error) else ""
        raise Damaged(f"{type(error).__name__}: {reason}") from error


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
        numbered = [entry for entry in folder.glob("*/") if entry.name.isascii() and entry.name.isdecimal()]
        steps = [int(entry.name) for entry in numbered if (entry / "state").is_dir()]
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
        with naming_damage():
            check_sums(folder)
            shapes = stored_shapes(folder)
            params = "average" if shapes.get("average") else "params"
            wanted = {name: shapes[name] for name in (params, "batch_stats") if shapes.get(name)}
            place = ocp.ArrayRestoreArgs(restore_type=jax.Array, sharding=parallel.first_local_device())
            restore = ocp.args.PyTreeRestore(
                wanted, restore_args=jax.tree.map(lambda _: place, wanted), partial_restore=True
            )
            with ocp.Checkpointer(ocp.CompositeCheckpointHandler("state", "config")) as checkpointer:
                restored = checkpointer.restore(
                    folder, ocp.args.Composite(state=restore, config=ocp.args.JsonRestore())
                )
            config = parse_config(ConfigDict(restored["config"]).to_json())
    except Damaged as damage:
        raise InputError(
            f"checkpoint: {folder} cannot be read ({damage}); copy it again, or name another <step> folder"
        ) from None
    state = restored["state"]
    return {"params": state[params], "batch_stats": state.get("batch_stats", {})}, config


def stored_shapes(folder: Path) -> Any:
    """The tree of shapes and types that a checkpoint's state has."""
    tree = ocp.PyTreeCheckpointHandler().metadata(folder / "state").tree
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def check_fits(folder: Path, stored: Any, like: Any) -> None:
    """Compares a stored state with the one wanted.

    Args:
      folder: of the checkpoint, for the message.
      stored: from `stored_shapes`.
      like: a state of the wanted shapes.

    Raises:
      InputError: naming parameters that are missing, unknown or of another shape.
    """
    found, wanted = ({name: tuple(leaf.shape) for name, leaf in named_leaves(tree).items()} for tree in (stored, like))
    if problems := differences(found, wanted):
        shown = "; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else "")
        raise InputError(f"checkpoint: {folder} is of another architecture ({len(problems)} differences: {shown})")


def differences(found: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]]) -> list[str]:
    """Returns in words where shapes by name differ: "missing NAME", "unknown NAME", "NAME is (2,), expected (3,)"."""
    both = sorted(wanted.keys() & found.keys())
    return [
        *(f"missing {name}" for name in sorted(wanted.keys() - found.keys())),
        *(f"unknown {name}" for name in sorted(found.keys() - wanted.keys())),
        *(f"{name} is {found[name]}, expected {wanted[name]}" for name in both if found[name] != wanted[name]),
    ]
