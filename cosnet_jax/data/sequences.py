"""Sequences of frames with their masks, opened by dataset and split; nothing is read before it is asked for."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Protocol

import numpy as np
import tensorflow_datasets as tfds

from cosnet_jax.data import synthetic
from cosnet_jax.data.prepare import BUILDERS, prepare
from cosnet_jax.errors import InputError
from cosnet_jax.video import images as image_files


class Sequence(Protocol):
    """The frames of one video in order, or the images of one set of still images.

    Attributes:
      name: unique among the sequences of a split.
      frames: frame names without suffix, in order.
      annotated: positions of the frames that have a mask, ascending.
    """

    name: str
    frames: tuple[str, ...]
    annotated: tuple[int, ...]

    def __len__(self) -> int: ...

    def image(self, i: int) -> np.ndarray:
        """Frame `i`: uint8 RGB (H, W, 3)."""

    def mask(self, i: int) -> np.ndarray | None:
        """The mask of frame `i`: bool (H, W), or None where the frame has no annotation."""

    def read(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Image and mask of frame `i`, for less than one after the other."""


@dataclasses.dataclass(frozen=True)
class RecordSequence:
    """A sequence in a prepared dataset. It holds names only, so it is cheap to send to another process.

    Attributes:
      folder: the prepared dataset's folder.
      fingerprint: of the source the records were made from.
      split: the split the sequence belongs to.
      start: position of the first frame among the records of the split.
    """

    folder: str
    fingerprint: str
    split: str
    start: int
    name: str
    frames: tuple[str, ...]
    annotated: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.frames)

    def image(self, i: int) -> np.ndarray:
        return image_files.decode_image(self._record(i)["image"])

    def mask(self, i: int) -> np.ndarray | None:
        return self._decode_mask(self._record(i))

    def read(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        record = self._record(i)
        return image_files.decode_image(record["image"]), self._decode_mask(record)

    def _record(self, i: int) -> dict[str, Any]:
        if not 0 <= i < len(self.frames):
            raise IndexError(f"sequence {self.name!r} has {len(self.frames)} frames, not {i + 1}")
        return _records(self.folder, self.fingerprint, self.split)[self.start + i]

    @staticmethod
    def _decode_mask(record: dict[str, Any]) -> np.ndarray | None:
        return image_files.decode_mask(record["mask"], threshold=127) if record["annotated"] else None


def open_sequences(dataset: str, split: str, config: Any) -> list[Sequence]:
    """Opens the sequences of a split, and prepares the dataset first where its source is given and has changed.

    Args:
      dataset: davis16, fbms, youtube_objects or synthetic.
      split: a split of that dataset, e.g. "train" or "val".
      config: the `data` section of the configuration.

    Returns:
      The sequences in the dataset's order.

    Raises:
      InputError: where the dataset or the split is unknown, or the dataset cannot be prepared.
    """
    if dataset == "synthetic":
        return synthetic.open_videos(split, config.synthetic)
    (folder,) = prepare(dataset, _source(dataset, config), config.data_dir)
    return _open_folder(str(folder), split)


def open_train_sequences(config: Any) -> list[Sequence]:
    """Opens the sequences to train on: the train split without those that `config.hold_out` names.

    Arguments and errors as `open_sequences`; an InputError too for a name that is not in the split, or all of them.
    """
    sequences = open_sequences(config.train_videos, "train", config)
    held = held_out(config, sequences)
    kept = [sequence for sequence in sequences if sequence not in held]
    if not kept:
        raise InputError("config.data.hold_out names all sequences: nothing is left to train on")
    return kept


def open_validation_sequences(config: Any) -> list[Sequence]:
    """Opens the sequences to validate on: those that `config.hold_out` names, or `config.eval_dataset`'s.

    Arguments and errors as `open_train_sequences`.
    """
    if not config.hold_out:
        return open_sequences(config.eval_dataset, config.eval_split, config)
    return held_out(config, open_sequences(config.train_videos, "train", config))


def held_out(config: Any, sequences: list[Sequence]) -> list[Sequence]:
    """Those of the sequences that `config.hold_out` names; an InputError if there is no such one."""
    names = [name.strip() for name in config.hold_out.split(",") if name.strip()]
    known = [sequence.name for sequence in sequences]
    for name in names:
        if name not in known:
            raise InputError(f"config.data.hold_out names {name!r}: expected one of {', '.join(known)}")
    return [sequence for sequence in sequences if sequence.name in names]


def open_stills(config: Any) -> list[Sequence]:
    """Opens the sets of still images that `config.train_stills` names, each as one sequence.

    Args:
      config: the `data` section of the configuration.

    Returns:
      One sequence for each set, named after it (for `stills`, after each set's folder).

    Raises:
      InputError: where a set is unknown, cannot be prepared or shares its name with another.
    """
    sets: list[Sequence] = []
    for dataset in filter(None, (name.strip() for name in config.train_stills.split(","))):
        if dataset == "synthetic":
            sets.append(synthetic.open_stills(config.synthetic))
        else:
            for folder in prepare(dataset, _source(dataset, config), config.data_dir):
                sets.extend(_open_folder(str(folder), "train"))
    names = [still_set.name for still_set in sets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two sets of still images are called {name!r}: expected different folder names")
    return sets


def _source(dataset: str, config: Any) -> str:
    if dataset not in BUILDERS:
        known = ", ".join(sorted((*BUILDERS, "synthetic")))
        raise InputError(f"dataset {dataset!r} is unknown: expected one of {known}")
    return config[dataset].source


def _open_folder(folder: str, split: str) -> list[Sequence]:
    metadata = tfds.builder_from_directory(folder).info.metadata
    index = metadata["sequences"]
    if split not in index:
        raise InputError(f"{folder} has no split {split!r}: expected one of {', '.join(index)}")
    return [
        RecordSequence(
            folder=folder,
            fingerprint=metadata["fingerprint"],
            split=split,
            start=entry["start"],
            name=entry["name"],
            frames=tuple(entry["frames"]),
            annotated=tuple(range(len(entry["frames"])) if entry["annotated"] is None else entry["annotated"]),
        )
        for entry in index[split]
    ]


@functools.lru_cache(maxsize=32)
def _records(folder: str, fingerprint: str, split: str) -> Any:
    """The records of a split with images and masks still encoded; the fingerprint tells re-prepared records apart."""
    del fingerprint
    skip = tfds.decode.SkipDecoding()
    return tfds.builder_from_directory(folder).as_data_source(split, decoders={"image": skip, "mask": skip})
