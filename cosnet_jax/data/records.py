"""Sequences of a prepared dataset, read from its records."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import cv2
import tensorflow_datasets as tfds

from cosnet_jax.data.sequence import Sequence
from cosnet_jax.errors import InputError
from cosnet_jax.video import images as image_files


@dataclasses.dataclass(frozen=True)
class Records:
    """A split of a prepared dataset, a `Source` of sequences."""

    folder: str  # of the prepared dataset
    fingerprint: str  # of the raw dataset from which the records were made
    split: str

    def read(self, place: int, image: bool, target: bool) -> tuple[Any, Any]:
        """Reads a record, see `Source`. Raises an InputError if it is damaged or gone."""
        try:
            record = _open(self)[place]
        except Exception as error:  # array_record and TFDS have many errors for files that are damaged or gone
            raise InputError(
                f"{self.folder}: record {place} of {self.split} cannot be read "
                f"({type(error).__name__}: {str(error)[:200]}); prepare the set again"
            ) from error
        return (
            image_files.decode_image(record["image"]) if image else None,
            image_files.decode(record["mask"], cv2.IMREAD_UNCHANGED) if target else None,
        )


def open_folder(folder: str, split: str) -> list[Sequence]:
    """Opens the sequences of a split of a folder that `prepare` returned, in the dataset's order.

    Raises:
      InputError: there is no such split.
    """
    metadata = tfds.builder_from_directory(folder).info.metadata
    index, source = metadata["sequences"], Records(folder, metadata["fingerprint"], split)
    if split not in index:
        raise InputError(f"{folder} has no split {split!r}: expected one of {', '.join(index)}")
    sequences = []
    for entry in index[split]:
        names, annotated, start = tuple(entry["frames"]), entry["annotated"], entry["start"]
        annotated = tuple(range(len(names)) if annotated is None else annotated)
        places = tuple(range(start, start + len(names)))
        sequences.append(Sequence(entry["name"], names, annotated, entry["soft"], source, places))
    return sequences


@functools.lru_cache(maxsize=32)
def _open(records: Records) -> Any:
    """Opens the records of a split, with images and masks still encoded.

    The fingerprint is part of the cache's key, so that records are opened again after they were prepared again.
    """
    skip = tfds.decode.SkipDecoding()
    return tfds.builder_from_directory(records.folder).as_data_source(
        records.split, decoders={"image": skip, "mask": skip}
    )
