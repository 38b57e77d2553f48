"""The base class of all dataset builders: TFDS writes one example per frame as array_record, without TensorFlow."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import tensorflow_datasets as tfds

from cosnet_jax.errors import InputError
from cosnet_jax.progress import track
from cosnet_jax.threads import map_in_threads, usable_cores
from cosnet_jax.video import images as image_files
from cosnet_jax.video.masks import read_mask

MAX_THREADS = min(8, usable_cores())


class Frame(NamedTuple):
    """One frame of the raw dataset: its sequence, its name and its files."""

    sequence: str
    name: str
    image: Path
    mask: Path | None  # None: the dataset has no annotation for this frame
    soft: bool = False  # the mask is a map: 255 times the probability of foreground


@dataclasses.dataclass
class Scan:
    """The contents of a raw dataset folder, known from its listings and file names.

    Attributes:
      splits: the frames of each split in order; the frames of a sequence are consecutive.
      listings: other files that decide what the dataset contains.
      problems: one line for each deviation from the layout; empty if nothing is missing.
      notes: one line for each harmless oddity.
    """

    splits: dict[str, list[Frame]] = dataclasses.field(default_factory=dict)
    listings: list[Path] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def frames(self) -> list[Frame]:
        """Returns all frames of all splits."""
        return [frame for frames in self.splits.values() for frame in frames]

    def fingerprint(self, source: Path) -> str:
        """Hashes the paths relative to `source`, the sizes and the times of all files: 64 hexadecimal digits."""
        files = {path for frame in self.frames() for path in (frame.image, frame.mask) if path} | set(self.listings)
        digest = hashlib.sha256()
        for path in sorted(files):
            status = os.stat(path)
            digest.update(os.fsencode(os.path.relpath(path, source)))
            digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


class FramesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A builder that reads a raw dataset from the folder `DownloadConfig.manual_dir`.

    A subclass implements `is_source` and `scan` for its folder layout. The metadata contain the fingerprint of the
    source, the share of foreground of each split, and for each split the sequences in order, see `sequence_index`.
    """

    VERSION = tfds.core.Version("1.1.0")  # of the records
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The description says where the dataset is obtained; unpack it and name its folder."

    # Without this, TFDS would search next to the code for checksums of downloads, with a package that it does not
    # install. These builders download nothing.
    code_path = None

    def __init__(self, **kwargs: Any):
        super().__init__(file_format="array_record", **kwargs)
        self.foreground: dict[str, float] = {}  # of each split, for the metadata

    @classmethod
    def is_source(cls, folder: Path) -> bool:
        """Tells whether a folder looks like the raw dataset, to find one that lies a level higher or deeper."""
        del folder
        return False

    @classmethod
    def scan(cls, source: Path) -> Scan:
        """Lists the frames of a raw dataset, and problems, without opening images."""
        raise NotImplementedError

    @classmethod
    def read_mask(cls, path: Path) -> np.ndarray:
        """Reads a mask of the raw dataset: bool (H, W). Raises an InputError for a file that is none."""
        return read_mask(path)

    @classmethod
    def read_target(cls, frame: Frame) -> np.ndarray:
        """Reads the mask of an annotated frame: uint8 (H, W), 0 and 255, or 0 to 255 where it is soft."""
        assert frame.mask is not None
        if not frame.soft:
            return cls.read_mask(frame.mask).astype(np.uint8) * 255
        target = image_files.decode_image(frame.mask.read_bytes())
        if target is None:
            raise InputError(f"{frame.mask}: not a readable map; expected an 8-bit grey image")
        return cv2.cvtColor(target, cv2.COLOR_RGB2GRAY)

    @classmethod
    def check_frame(cls, frame: Frame) -> tuple[list[str], float | None]:
        """Checks that the files of a frame can be decoded.

        Returns:
          One line for each problem: a file that is none, is truncated or unreadable, or a mask that differs in size
          from its image. And the share of foreground, in [0, 1]; None where there is no mask.
        """
        problems: list[str] = []
        for path in filter(None, (frame.image, frame.mask)):
            if not path.is_file():
                problems.append(f"{path} is not a file: expected an image")
            elif image_files.is_truncated(path.read_bytes()):
                problems.append(f"{path} is truncated ({path.stat().st_size} bytes): copy it again")
        if problems:
            return problems, None
        try:
            image = _read_image(frame.image)
            target = None if frame.mask is None else cls.read_target(frame)
        except InputError as error:
            return [str(error)], None
        if target is None:
            return problems, None
        (height, width), (mask_height, mask_width) = image.shape[:2], target.shape
        if (height, width) != (mask_height, mask_width):
            problems.append(
                f"{frame.mask} is {mask_width}x{mask_height} (width x height), {frame.image} is {width}x{height}: "
                "expected equal sizes; each is turned as its own EXIF orientation says"
            )
        return problems, float((target > 127).mean())

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),  # stored as in the source, mostly JPEG
                    "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
                    "sequence": tfds.features.Text(),
                    "frame": tfds.features.Text(),
                    "index": np.int32,
                    "annotated": np.bool_,
                }
            ),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        source = Path(dl_manager.manual_dir)
        scan = self.scan(source)
        self.info.metadata["fingerprint"] = scan.fingerprint(source)
        self.info.metadata["foreground"] = self.foreground
        self.info.metadata["sequences"] = {split: sequence_index(frames) for split, frames in scan.splits.items()}
        return {split: self._generate_examples(split, frames) for split, frames in scan.splits.items()}

    def _generate_examples(self, split: str, frames: list[Frame]) -> Iterator[tuple[int, dict[str, Any]]]:
        tasks = ((key, (frame,)) for key, frame in enumerate(frames))
        examples = map_in_threads(self._example, tasks, MAX_THREADS)
        for key, example in track(examples, f"writing {self.info.full_name}, {split}", total=len(frames)):
            yield key, example | {"index": key}

    def _example(self, frame: Frame) -> dict[str, Any]:
        image = frame.image.read_bytes()
        unknown = frame.mask is None
        mask = np.zeros(_read_image(frame.image).shape[:2], np.uint8) if unknown else self.read_target(frame)
        options = [cv2.IMWRITE_PNG_BILEVEL, int(not frame.soft)]
        return {
            "image": image,
            "mask": cv2.imencode(".png", mask, options)[1].tobytes(),
            "sequence": frame.sequence,
            "frame": frame.name,
            "annotated": not unknown,
        }


def _read_image(path: Path) -> np.ndarray:
    image = image_files.decode_image(path.read_bytes())
    if image is None:
        raise InputError(f"{path}: not a readable image; copy it again, or convert it to JPEG")
    return image


def sequence_index(frames: list[Frame]) -> list[dict[str, Any]]:
    """Describes the sequences of a split, whose frames are consecutive.

    Returns:
      For each sequence {"name", "start": index of its first frame in the split, "frames": frame names, "annotated":
      indices of its annotated frames within the sequence, or None if all are annotated, "soft": it has soft masks}.
    """
    index, start = [], 0
    for name, group in itertools.groupby(frames, key=lambda frame: frame.sequence):
        members = list(group)
        annotated = [i for i, frame in enumerate(members) if frame.mask is not None]
        index.append(
            {
                "name": name,
                "start": start,
                "frames": [frame.name for frame in members],
                "annotated": annotated if len(annotated) < len(members) else None,
                "soft": any(frame.soft for frame in members),
            }
        )
        start += len(members)
    return index
