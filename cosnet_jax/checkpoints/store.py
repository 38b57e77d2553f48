"""Checkpoints on disk. No other folder imports orbax.

A folder of checkpoints holds `<step>/` folders, each with the training state, the configuration it was trained with
and, if training is to go on from it, the position of the data iterators. A checkpoint appears under its name only when
complete. It holds digests of its contents, so that damage is noticed, even to a single bit.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from cosnet_jax import parallel
from cosnet_jax.checkpoints import memory, weights_file
from cosnet_jax.checkpoints.arrays import FREE_BYTES, GROWTH
from cosnet_jax.checkpoints.digests import (
    SHAPES,
    DigestRestore,
    DigestSave,
    digest_of,
    digest_of_json,
    digests_of_state,
    shapes_of,
)
from cosnet_jax.config import accept_config, as_stored, changed_settings, describe_changes
from cosnet_jax.errors import InputError, interruption_in, printable
from cosnet_jax.files import expanded

LATEST, BEST = "checkpoints", "best"
WRITTEN = "a folder that train.py (--workdir) or `cosnet convert` (--output) wrote"
DAMAGED, OUTDATED = ".damaged", ".outdated"  # suffixes of checkpoints that were set aside
SHIPPED_MODEL = "davis16_lite"  # the trained model in the package
SHIPPED_FILES = {SHIPPED_MODEL: Path(__file__).parents[1] / "assets" / "davis16_lite.npz"}


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

        It returns as soon as the state is copied; digests are made and files written while the training goes on.

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
        digests = {"config": digest_of_json(as_stored(config)), "progress": digest_of_json(progress)}
        items = {
            "state": ocp.args.StandardSave(parallel.to_global(state)),
            "config": ocp.args.JsonSave(config.to_dict()),
            "progress": ocp.args.JsonSave(progress),
            "digests": DigestSave(digests, parallel.copy_on_first(state)),
        }
        with self._report_write_errors():
            self.set_aside_from(step + 1)
            self._manager.save(step, args=ocp.args.Composite(**items))

    def set_aside_from(self, step: int) -> None:
        """Renames the checkpoints of this step and later ones `<step>.outdated`: their steps are taken again.

        That is so where a training begins anew, or goes on from an earlier checkpoint because the newest is damaged.
        """
        for outdated in [there for there in self._manager.all_steps() if there >= step]:
            self._set_aside(outdated, "is of steps taken again", OUTDATED)

    def _set_aside(self, step: int, reason: str, suffix: str) -> None:
        folder = Path(self._manager.directory) / str(step)
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
            try:
                return step, *self._restore(step, like)
            except Damaged as damage:
                self._set_aside(step, f"is damaged ({damage})", DAMAGED)
        return None

    def _restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        folder = Path(self._manager.directory) / str(step)
        items = {"state": ocp.args.StandardRestore(parallel.to_global(like))}
        items |= dict.fromkeys(("config", "progress"), ocp.args.JsonRestore())
        with _naming_damage():
            digests = stored_digests(folder)
            stored = stored_state(folder)
            check_digest(digests, SHAPES, digest_of_json(shapes_of(stored)))
        check_fits(folder, stored, like)
        with _naming_damage():
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
            state = parallel.to_local(restored["state"])
            for name, digest in digests_of_state(state).items():
                check_digest(digests, name, digest)
            for name in ("config", "progress"):
                check_digest(digests, name, digest_of_json(restored[name]))
        return state, restored["progress"]

    def close(self) -> None:
        """Waits until everything is written, and releases the folder.

        Raises:
          InputError: the last checkpoint cannot be written.
        """
        with self._report_write_errors():
            self._manager.close()

    @contextlib.contextmanager
    def _report_write_errors(self) -> Iterator[None]:
        try:
            yield
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


@contextlib.contextmanager
def _naming_damage() -> Iterator[None]:
    try:
        yield
    except Damaged:
        raise
    except Exception as error:  # the parsers of orbax and tensorstore can raise anything on damaged files
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
        raise InputError(f"checkpoint: {path} does not exist; expected a weights file (.npz), or {WRITTEN}")
    for folder in (path, path / BEST, path / LATEST):
        if (folder / "_CHECKPOINT_METADATA").is_file() and (folder / "state").is_dir():
            return folder.absolute()
        numbered = [entry for entry in folder.glob("*/") if entry.name.isascii() and entry.name.isdecimal()]
        steps = [int(entry.name) for entry in numbered if (entry / "state").is_dir()]
        if steps:
            return (folder / str(max(steps))).absolute()
    raise InputError(f"checkpoint: {path} holds no checkpoint, {LATEST}/<step>/ or <step>/; expected {WRITTEN}")


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Any], ConfigDict]:
    """Reads what inference needs from a checkpoint.

    Args:
      path: as in `find_checkpoint`, a weights file (.npz), or the name of a model in the package.

    Returns:
      ({"params": ..., "batch_stats": ...}, the configuration it was trained with).

    Raises:
      InputError: if there is no readable checkpoint.
    """
    path = expanded(SHIPPED_FILES.get(str(path), path))
    if path.suffix == weights_file.SUFFIX:
        return weights_file.read_weights_file(path)
    folder = find_checkpoint(path)
    try:
        with _naming_damage():
            return _load(folder)
    except Damaged as damage:
        raise InputError(
            f"checkpoint: {folder} cannot be read ({damage}); copy it again, or name another <step> folder"
        ) from None


def _load(folder: Path) -> tuple[dict[str, Any], ConfigDict]:
    metadata, digests = stored_metadata(folder), stored_digests(folder)
    wanted = {name: metadata[name] for name in ("params", "batch_stats") if name in metadata}
    _check_memory(folder, wanted)
    wanted = jax.tree.map(_shape_of, wanted)
    restore = ocp.args.PyTreeRestore(
        wanted,
        restore_args=jax.tree.map(
            lambda _: ocp.ArrayRestoreArgs(restore_type=jax.Array, sharding=parallel.first_local_device()), wanted
        ),
        partial_restore=True,
    )
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler("state", "config")) as checkpointer:
        restored = checkpointer.restore(folder, ocp.args.Composite(state=restore, config=ocp.args.JsonRestore()))
    for name in wanted:
        check_digest(digests, name, digest_of(restored["state"][name]))
    check_digest(digests, "config", digest_of_json(restored["config"]))
    variables = {"params": restored["state"]["params"], "batch_stats": restored["state"].get("batch_stats", {})}
    return variables, accept_config(restored["config"])


def load_checkpoint_for(config: ConfigDict, path: str | Path) -> dict[str, Any]:
    """Reads the variables of a checkpoint that is of a configuration's model.

    Args:
      config: the whole configuration.
      path: as in `load_checkpoint`.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      InputError: if there is no readable checkpoint, or it is of another model.
    """
    variables, trained = load_checkpoint(path)
    changes = changed_settings(trained.model, config.model)
    if changes:
        described = describe_changes(changes, len(changes))
        raise InputError(
            f"checkpoint: {path} is of another model than the configuration's: {described}; expected the configuration "
            "that it was trained with"
        )
    return variables


def stored_state(folder: Path) -> Any:
    """The tree of shapes and types that a checkpoint's state has."""
    return jax.tree.map(_shape_of, stored_metadata(folder))


def stored_metadata(folder: Path) -> Any:
    """The tree of what orbax says of each array of a checkpoint's state: shape, type, shapes of its parts on disk."""
    return ocp.PyTreeCheckpointHandler().metadata(folder / "state").tree


def _shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def stored_digests(folder: Path) -> dict[str, str]:
    """The digests that a checkpoint holds; {} for one of an earlier version, which has none."""
    if not (folder / "digests").is_dir():
        return {}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler("digests")) as checkpointer:
        return dict(checkpointer.restore(folder, ocp.args.Composite(digests=DigestRestore()))["digests"])


def check_digest(digests: dict[str, str], name: str, found: str) -> None:
    """Raises `Damaged` if a part of a checkpoint has another digest than when it was written."""
    if digests and digests.get(name) != found:
        raise Damaged(f"{name} changed since it was written")


def _check_memory(folder: Path, wanted: Any) -> None:
    """Raises `Damaged` if arrays (tree of `stored_metadata`) claim more memory than files of a checkpoint can hold."""
    needed = sum(map(memory.bytes_to_read, jax.tree.leaves(wanted)))
    if needed > FREE_BYTES + GROWTH * memory.bytes_held(folder):
        raise Damaged(f"its arrays would take {needed} bytes, more than its files can hold")


def check_fits(folder: Path, stored: Any, like: Any) -> None:
    """Compares a stored state with the one wanted.

    Args:
      folder: of the checkpoint, for the message.
      stored: from `stored_state`.
      like: a state of the wanted shapes.

    Raises:
      InputError: naming parameters that are missing, unknown or of another shape.
    """
    found, wanted = shapes_of(stored), shapes_of(like)
    problems = [f"missing {name}" for name in sorted(wanted.keys() - found.keys())]
    problems += [f"unknown {name}" for name in sorted(found.keys() - wanted.keys())]
    problems += [
        f"{name} is {found[name]}, expected {wanted[name]}"
        for name in sorted(wanted.keys() & found.keys())
        if found[name] != wanted[name]
    ]
    if problems:
        shown = "; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else "")
        raise InputError(f"checkpoint: {folder} is of another architecture ({len(problems)} differences: {shown})")
