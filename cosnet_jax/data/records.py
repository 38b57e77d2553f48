"""Sequences of a prepared dataset, read from its records."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

from cosnet_jax.data.sequence import Sequence
from cosnet_jax.errors import InputError
from cosnet_jax.files import is_plain_name
from cosnet_jax.video import images as image_files
from cosnet_jax.video.video import check_index


@dataclasses.dataclass(frozen=True)
class RecordSequence(Sequence):
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
    soft: bool

    def target(self, i: int) -> np.ndarray | None:
        return self._decode_target(self._record(i), i)

    def frame_and_target(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        record = self._record(i)
        return self._decode_image(record, i), self._decode_target(record, i)

    def _frame(self, i: int) -> np.ndarray:
        return self._decode_image(self._record(i), i)

    def _record(self, i: int) -> dict[str, Any]:
        check_index(i, len(self))
        try:
            return _records(self.folder, self.fingerprint, self.split)[self.start + i]
        except Exception as error:  # array_record and TFDS have many errors for files that are damaged or gone
            raise self._damaged(i, f"{type(error).__name__}: {error}"[:200]) from error

    def _decode_image(self, record: dict[str, Any], i: int) -> np.ndarray:
        image = image_files.decode_image(record["image"])
        if image is None:
            raise self._damaged(i, "its image cannot be decoded")
        return image

    def _decode_target(self, record: dict[str, Any], i: int) -> np.ndarray | None:
        if not record["annotated"]:
            return None
        target = image_files.decode(record["mask"], cv2.IMREAD_UNCHANGED)
        if target is None:
            raise self._damaged(i, "its mask cannot be decoded")
        return target if self.soft else target > 127

    def _damaged(self, i: int, why: str) -> InputError:
        place = f"{self.folder}: record {self.start + i} of split {self.split!r} ({self.name}/{self.frame_names[i]})"
        return InputError(f"{place} cannot be read ({why}); prepare the set again")


def open_folder(folder: str, split: str) -> list[Sequence]:
    """Opens the sequences of a split of a folder that `prepare` returned, in the dataset's order.

    Raises:
      InputError: there is no such split, or a name in it is not that of a file.
    """
    metadata = tfds.builder_from_directory(folder).info.metadata
    index = metadata["sequences"]
    if split not in index:
        raise InputError(f"{folder} has no split {split!r}: expected one of {', '.join(index)}")
    sequences: list[Sequence] = []
    for entry in index[split]:
        for name in (entry["name"], *entry["frames"]):
            if not is_plain_name(name):  # masks are written under these names
                raise InputError(f"{folder} has a sequence or frame called {name!r}: expected the name of a file")
        names, annotated = tuple(entry["frames"]), entry["annotated"]
        annotated = tuple(range(len(names)) if annotated is None else annotated)
        place = folder, metadata["fingerprint"], split, entry["start"]
        sequences.append(RecordSequence(*place, entry["name"], names, annotated, entry["soft"]))
    return sequences


@functools.lru_cache(maxsize=32)
def _records(folder: str, fingerprint: str, split: str) -> Any:
    """Opens the records of a split, with images and masks still encoded.

    The fingerprint is part of the cache's key, so that records are opened again after they were prepared again.
    """
    del fingerprint
    skip = tfds.decode.SkipDecoding()
    return tfds.builder_from_directory(folder).as_data_source(split, decoders={"image": skip, "mask": skip})
