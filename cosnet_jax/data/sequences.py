"""Opens datasets as sequences: videos with masks. Frames are read only when they are asked for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence as PySequence
from typing import Any, Protocol

import numpy as np
import tensorflow_datasets as tfds

from cosnet_jax.data import synthetic
from cosnet_jax.data.prepare import BUILDERS, prepare
from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.ground_truth import GroundTruth
from cosnet_jax.files import is_plain_name
from cosnet_jax.video import images as image_files
from cosnet_jax.video.video import FrameByFrame, Video, check_index, evenly_spaced_indices


class Sequence(Video, GroundTruth, Protocol):
    """A video with masks, or the images of one set of still images (whose sizes can differ) with masks.

    `name` is unique among the sequences of a split; `frame_names`, `annotated` and `mask` are those of `GroundTruth`.
    """

    def read(self, indices: PySequence[int]) -> list[np.ndarray]:
        """Reads some frames: uint8 RGB (H, W, 3) each, in the order of `indices`."""

    def frame_and_mask(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Reads frame `i` and its mask, faster than one after the other."""


@dataclasses.dataclass(frozen=True)
class RecordSequence(FrameByFrame):
    """A sequence of a prepared dataset. It holds only names, so it is cheap to send to another process.

    Attributes:
      folder: folder of the prepared dataset.
      fingerprint: fingerprint of the raw dataset from which the records were made.
      split: split that the sequence belongs to.
      start: index of the first frame among the records of the split.
    """

    folder: str
    fingerprint: str
    split: str
    start: int
    name: str
    frame_names: tuple[str, ...]
    annotated: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first frame."""
        return self._frame(0).shape[:2]

    def __len__(self) -> int:
        return len(self.frame_names)

    def mask(self, i: int) -> np.ndarray | None:
        return self._decode_mask(self._record(i), i)

    def frame_and_mask(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        record = self._record(i)
        return self._whole(image_files.decode_image(record["image"]), "image", i), self._decode_mask(record, i)

    def _frame(self, i: int) -> np.ndarray:
        return self._whole(image_files.decode_image(self._record(i)["image"]), "image", i)

    def _record(self, i: int) -> dict[str, Any]:
        check_index(i, len(self))
        try:
            return _records(self.folder, self.fingerprint, self.split)[self.start + i]
        except Exception as error:  # array_record and TFDS have many errors for files that are damaged or gone
            raise InputError(
                f"{self._place(i)} cannot be read, prepare the set again ({type(error).__name__}: {error})"[:400]
            ) from error

    def _decode_mask(self, record: dict[str, Any], i: int) -> np.ndarray | None:
        if not record["annotated"]:
            return None
        return self._whole(image_files.decode_mask(record["mask"], threshold=127), "mask", i)

    def _whole(self, decoded: np.ndarray | None, part: str, i: int) -> np.ndarray:
        if decoded is None:
            raise InputError(f"{self._place(i)} is damaged: its {part} cannot be decoded; prepare the set again")
        return decoded

    def _place(self, i: int) -> str:
        return f"{self.folder}: record {self.start + i} of split {self.split!r} ({self.name}/{self.frame_names[i]})"


def evenly_spaced(sequence: Sequence, count: int) -> Sequence:
    """Chooses evenly spaced annotated frames of a sequence, the first and the last of them among these.

    Where fewer frames are annotated, evenly spaced ones of the others are chosen too, as references.

    Args:
      sequence: the whole sequence.
      count: number of frames; 0, or more than there are: all.

    Returns:
      A sequence of the chosen frames.
    """
    if count == 0 or count >= len(sequence):
        return sequence
    chosen = _evenly_spaced_items(sequence.annotated, count)
    others = sorted(set(range(len(sequence))) - set(sequence.annotated))
    return _Subset(sequence, tuple(sorted([*chosen, *_evenly_spaced_items(others, count - len(chosen))])))


def _evenly_spaced_items(items: PySequence[int], count: int) -> list[int]:
    return [items[i] for i in evenly_spaced_indices(len(items), count)] if items and count else []


@dataclasses.dataclass(frozen=True)
class _Subset(FrameByFrame):
    """Some frames of a sequence, `indices`, as a sequence."""

    whole: Sequence
    indices: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.whole.name

    @property
    def size(self) -> tuple[int, int]:
        return self.whole.size

    @property
    def frame_names(self) -> tuple[str, ...]:
        return tuple(self.whole.frame_names[i] for i in self.indices)

    @property
    def annotated(self) -> tuple[int, ...]:
        known = set(self.whole.annotated)
        return tuple(i for i, index in enumerate(self.indices) if index in known)

    def __len__(self) -> int:
        return len(self.indices)

    def mask(self, i: int) -> np.ndarray | None:
        check_index(i, len(self))
        return self.whole.mask(self.indices[i])

    def frame_and_mask(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        check_index(i, len(self))
        return self.whole.frame_and_mask(self.indices[i])

    def _frame(self, i: int) -> np.ndarray:
        return self.whole.read([self.indices[i]])[0]


def open_sequences(dataset: str, split: str, config: Any) -> list[Sequence]:
    """Opens the sequences of a split. Prepares the dataset first if its source is given and has changed.

    Args:
      dataset: davis16, fbms, youtube_objects, videos or synthetic.
      split: a split of that dataset, e.g. "train" or "val".
      config: the `data` section of the configuration.

    Returns:
      The sequences in the dataset's order.

    Raises:
      InputError: the dataset or the split is unknown, or the dataset cannot be prepared.
    """
    return [sequence for sequences in _open_sets(dataset, split, config).values() for sequence in sequences]


def open_train_sequences(config: Any) -> dict[str, list[Sequence]]:
    """Opens the sequences to train on: the train splits without the sequences that `config.hold_out` names.

    Args:
      config: the `data` section of the configuration.

    Returns:
      The sequences of each set in the set's order, by the name of the dataset, or of the folder for a set of `videos`.

    Raises:
      InputError: as in `open_sequences`; also if two sets or two sequences have the same name, or `config.hold_out`
        names an unknown sequence, or all of them.
    """
    training, _ = _split_held_out(config)
    if not any(training.values()):
        raise InputError("config.data.hold_out names all sequences: nothing is left to train on")
    return training


def open_validation_sequences(config: Any) -> list[Sequence]:
    """Opens the sequences to validate on: those that `config.hold_out` names, or else those of `config.eval_dataset`.

    Args:
      config: the `data` section of the configuration.

    Returns:
      The sequences in the dataset's order.

    Raises:
      InputError: as in `open_sequences`; also if `config.hold_out` names an unknown sequence.
    """
    if not config.hold_out:
        return open_sequences(config.eval_dataset, config.eval_split, config)
    _, validation = _split_held_out(config)
    return validation


def _split_held_out(config: Any) -> tuple[dict[str, list[Sequence]], list[Sequence]]:
    """Opens the train splits; returns their sets without what `config.hold_out` names, and the sequences it names."""
    sets: dict[str, list[Sequence]] = {}
    for dataset in _split_names(config.train_videos):
        for name, sequences in _open_sets(dataset, "train", config).items():
            if name in sets:
                raise InputError(f"two sets of videos are called {name!r}: expected different folder names")
            sets[name] = sequences
    every = [sequence for sequences in sets.values() for sequence in sequences]
    known, held_out = [sequence.name for sequence in every], _split_names(config.hold_out)
    for name in known:
        if known.count(name) > 1:
            raise InputError(f"two sequences are called {name!r}: expected different folder names")
    for name in held_out:
        if name not in known:
            raise InputError(f"config.data.hold_out names {name!r}: expected one of {', '.join(known)}")
    training = {
        name: [sequence for sequence in sequences if sequence.name not in held_out] for name, sequences in sets.items()
    }
    return training, [sequence for sequence in every if sequence.name in held_out]


def _open_sets(dataset: str, split: str, config: Any) -> dict[str, list[Sequence]]:
    """Opens a split of a dataset; returns the sequences of its sets, or of its only one, by the set's name."""
    if dataset == "synthetic":
        return {dataset: list(synthetic.open_videos(split, config.synthetic))}
    folders = prepare(dataset, _source(dataset, config), config.data_dir)
    return {folder.parent.name: _open_folder(str(folder), split) for folder in folders}


def _split_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def open_stills(config: Any) -> list[Sequence]:
    """Opens the sets of still images that `config.train_stills` names, each as one sequence.

    Args:
      config: the `data` section of the configuration.

    Returns:
      One sequence for each set, with the set's name (for `stills`, the name of each set's folder).

    Raises:
      InputError: a set is unknown, cannot be prepared or has the same name as another.
    """
    sets: list[Sequence] = []
    for dataset in _split_names(config.train_stills):
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
    return config[dataset].source if dataset in config else ""  # one that is registered elsewhere, and prepared


def _open_folder(folder: str, split: str) -> list[Sequence]:
    metadata = tfds.builder_from_directory(folder).info.metadata
    index = metadata["sequences"]
    if split not in index:
        raise InputError(f"{folder} has no split {split!r}: expected one of {', '.join(index)}")
    for entry in index[split]:
        for name in (entry["name"], *entry["frames"]):
            if not is_plain_name(name):  # masks are written under these names
                raise InputError(f"{folder} has a sequence or frame called {name!r}: expected the name of a file")
    return [
        RecordSequence(
            folder=folder,
            fingerprint=metadata["fingerprint"],
            split=split,
            start=entry["start"],
            name=entry["name"],
            frame_names=tuple(entry["frames"]),
            annotated=tuple(range(len(entry["frames"])) if entry["annotated"] is None else entry["annotated"]),
        )
        for entry in index[split]
    ]


@functools.lru_cache(maxsize=32)
def _records(folder: str, fingerprint: str, split: str) -> Any:
    """Opens the records of a split, with images and masks still encoded.

    The fingerprint is part of the cache's key, so that records are opened again after they were prepared again.
    """
    del fingerprint
    skip = tfds.decode.SkipDecoding()
    return tfds.builder_from_directory(folder).as_data_source(split, decoders={"image": skip, "mask": skip})
