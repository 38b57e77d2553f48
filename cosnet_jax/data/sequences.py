"""Opens datasets by name: the sequences to train on, to validate on and to evaluate, and sets of still images."""

from __future__ import annotations

from typing import Any

from cosnet_jax.data import synthetic
from cosnet_jax.data.config import split_names
from cosnet_jax.data.prepare import prepare
from cosnet_jax.data.records import open_folder
from cosnet_jax.data.sequence import Sequence
from cosnet_jax.errors import InputError


def open_sequences(dataset: str, split: str, config: Any) -> list[Sequence]:
    """Opens the sequences of a split, in the dataset's order. Prepares the dataset first if its source has changed.

    Args:
      dataset: davis16, fbms, youtube_objects, videos or synthetic.
      split: a split of that dataset, e.g. "train" or "val".
      config: the `data` section of the configuration, as in all functions here.

    Raises:
      InputError: the dataset or the split is unknown, or the dataset cannot be prepared. In the functions below also
        if two sets have the same name, or `config.hold_out` names an unknown sequence, or all of them.
    """
    return [sequence for sequences in _open_sets(dataset, split, config).values() for sequence in sequences]


def open_train_sequences(config: Any) -> dict[str, list[Sequence]]:
    """Opens the sequences to train on: the train splits without the sequences that `config.hold_out` names.

    Returns:
      The sequences of each set by the name of the dataset, or of the folder for a set of `videos`.
    """
    training, _ = _split_held_out(config)
    if not any(training.values()):
        raise InputError("config.data.hold_out names all sequences: nothing is left to train on")
    return training


def open_validation_sequences(config: Any) -> list[Sequence]:
    """Opens the sequences to validate on: those that `config.hold_out` names, else those of `config.eval_dataset`."""
    if config.hold_out:
        return _split_held_out(config)[1]
    return open_sequences(config.eval_dataset, config.eval_split, config)


def open_stills(config: Any) -> list[Sequence]:
    """Opens the sets of still images that `config.train_stills` names, each as one sequence of the set's name."""
    sets = _open_train_sets("sets of still images", config.train_stills, config, stills=True)
    return [sequence for sequences in sets.values() for sequence in sequences]


def _split_held_out(config: Any) -> tuple[dict[str, list[Sequence]], list[Sequence]]:
    """Opens the train splits; returns their sets without what `config.hold_out` names, and the sequences it names."""
    sets = _open_train_sets("sets of videos", config.train_videos, config)
    every = [sequence for sequences in sets.values() for sequence in sequences]
    known, held_out = [sequence.name for sequence in every], split_names(config.hold_out)
    if unknown := [name for name in held_out if name not in known]:
        raise InputError(f"config.data.hold_out names {unknown[0]!r}: expected one of {', '.join(known)}")
    training = {name: [each for each in sequences if each.name not in held_out] for name, sequences in sets.items()}
    return training, [sequence for sequence in every if sequence.name in held_out]


def _open_train_sets(what: str, names: str, config: Any, stills: bool = False) -> dict[str, list[Sequence]]:
    """Opens the train splits of the datasets in `names`; returns the sequences of each set by the set's name."""
    sets: dict[str, list[Sequence]] = {}
    for dataset in split_names(names):
        for name, sequences in _open_sets(dataset, "train", config, stills).items():
            if name in sets:
                raise InputError(f"two {what} are called {name!r}: expected different folder names")
            sets[name] = sequences
    return sets


def _open_sets(dataset: str, split: str, config: Any, stills: bool = False) -> dict[str, list[Sequence]]:
    """Opens a split of a dataset; returns the sequences of its sets, or of its only one, by the set's name."""
    if dataset == "synthetic":
        drawn = config.synthetic
        return {dataset: [synthetic.open_stills(drawn)] if stills else synthetic.open_videos(split, drawn)}
    source = config[dataset].source if dataset in config else ""  # "": one that was registered, and prepared, elsewhere
    return {folder.parent.name: open_folder(str(folder), split) for folder in prepare(dataset, source, config.data_dir)}
