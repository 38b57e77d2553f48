"""Checkpoints on disk. No other file imports orbax.

A folder of checkpoints holds `<step>/` folders, each with the training state, the configuration it was trained with
and, if training is to go on from it, the position of the data iterators. A checkpoint appears under its name only when
complete.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from cosnet_jax import parallel
from cosnet_jax.checkpoints import weights_file
from cosnet_jax.config import changed_settings, describe_changes, upgrade_config
from cosnet_jax.errors import InputError
from cosnet_jax.models.parameters import parameter_name

LATEST, BEST = "checkpoints", "best"
SHIPPED_MODEL = "davis16_lite"  # the trained model in the package
SHIPPED_FILES = {SHIPPED_MODEL: Path(__file__).parents[1] / "assets" / "davis16_lite.npz"}


class CheckpointFolder:
    """A folder of checkpoints that is being written."""

    def __init__(self, folder: Path, keep: int):
        """Opens or creates the folder.

        Args:
          folder: where the checkpoints are.
          keep: how many of the newest stay.
        """
        options = ocp.CheckpointManagerOptions(max_to_keep=keep)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def latest_step(self) -> int | None:
        """The newest step, or None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, config: ConfigDict, progress: dict[str, Any]) -> None:
        """Writes a checkpoint, unless there is one of that step.

        It returns as soon as the state is copied; the files are written while the training goes on.

        Args:
          step: its name.
          state: a tree of arrays.
          config: the whole configuration.
          progress: JSON-able; what else it takes to go on (positions of the data iterators, best score so far).
        """
        if self._manager.latest_step() == step:
            return
        items = {
            "state": ocp.args.StandardSave(parallel.to_global(state)),
            "config": ocp.args.JsonSave(config.to_dict()),
            "progress": ocp.args.JsonSave(progress),
        }
        self._manager.save(step, args=ocp.args.Composite(**items))

    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        """Reads a checkpoint.

        Args:
          step: which.
          like: a state of the same shapes.

        Returns:
          (state, progress).

        Raises:
          InputError: if the stored state is of another architecture.
        """
        folder = Path(self._manager.directory) / str(step)
        check_fits(folder, like)
        items = {"state": ocp.args.StandardRestore(parallel.to_global(like)), "progress": ocp.args.JsonRestore()}
        restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        return parallel.to_local(restored["state"]), restored["progress"]

    def close(self) -> None:
        """Waits until everything is written, and releases the folder."""
        self._manager.close()


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
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"checkpoint: {path} does not exist; expected a checkpoint or a training's working directory")
    for folder in (path, path / BEST, path / LATEST):
        if (folder / "_CHECKPOINT_METADATA").is_file() and (folder / "state").is_dir():
            return folder.absolute()
        steps = [int(entry.name) for entry in folder.glob("*/") if entry.name.isdigit() and (entry / "state").is_dir()]
        if steps:
            return (folder / str(max(steps))).absolute()
    raise InputError(f"checkpoint: {path} holds no checkpoint; expected {LATEST}/<step>/ or <step>/ with a state in it")


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Any], ConfigDict]:
    """Reads what inference needs from a checkpoint.

    Args:
      path: as in `find_checkpoint`, a weights file (.npz), or the name of a model in the package.

    Returns:
      ({"params": ..., "batch_stats": ...}, the configuration it was trained with).

    Raises:
      InputError: if there is no readable checkpoint.
    """
    path = SHIPPED_FILES.get(str(path), path)
    if Path(path).suffix == weights_file.SUFFIX:
        return weights_file.read_weights_file(path)
    folder = find_checkpoint(path)
    try:
        stored = stored_state(folder)
        wanted = {name: stored[name] for name in ("params", "batch_stats") if name in stored}
        restore = ocp.args.PyTreeRestore(
            wanted,
            restore_args=jax.tree.map(
                lambda _: ocp.ArrayRestoreArgs(restore_type=jax.Array, sharding=parallel.first_local_device()), wanted
            ),
            partial_restore=True,
        )
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler("state", "config")) as checkpointer:
            restored = checkpointer.restore(folder, ocp.args.Composite(state=restore, config=ocp.args.JsonRestore()))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"checkpoint: {folder} cannot be read ({str(error).splitlines()[0]})") from None
    variables = {"params": restored["state"]["params"], "batch_stats": restored["state"].get("batch_stats", {})}
    return variables, upgrade_config(restored["config"])


def load_checkpoint_for(config: ConfigDict, path: str | Path) -> dict[str, Any]:
    """Reads the variables of a checkpoint that is of a configuration's model.

    Args:
      config: the whole configuration.
      path: as in `find_checkpoint`.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      InputError: if there is no readable checkpoint, or it is of another model.
    """
    variables, trained = load_checkpoint(path)
    changes = changed_settings(trained.model, config.model)
    if changes:
        described = describe_changes(changes, len(changes))
        raise InputError(f"checkpoint: {path} is of another model than the configuration's: {described}")
    return variables


def stored_state(folder: Path) -> Any:
    """The tree of shapes and types that a checkpoint's state has."""
    metadata = ocp.PyTreeCheckpointHandler().metadata(folder / "state").tree
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), metadata)


def check_fits(folder: Path, like: Any) -> None:
    """Compares a stored state with the one wanted.

    Args:
      folder: of one checkpoint.
      like: a state of the wanted shapes.

    Raises:
      InputError: naming parameters that are missing, unknown or of another shape.
    """

    def shapes(tree):
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {parameter_name(path): tuple(leaf.shape) for path, leaf in leaves}

    stored, wanted = shapes(stored_state(folder)), shapes(like)
    problems = [f"missing {name}" for name in sorted(wanted.keys() - stored.keys())]
    problems += [f"unknown {name}" for name in sorted(stored.keys() - wanted.keys())]
    problems += [
        f"{name} is {stored[name]}, expected {wanted[name]}"
        for name in sorted(wanted.keys() & stored.keys())
        if stored[name] != wanted[name]
    ]
    if problems:
        shown = "; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else "")
        raise InputError(f"checkpoint: {folder} is of another architecture ({len(problems)} differences: {shown})")
