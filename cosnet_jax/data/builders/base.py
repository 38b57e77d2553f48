"""The base class of all dataset builders: TFDS writes one example per frame as array_record, without TensorFlow."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
import tensorflow_datasets as tfds

from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import report_read_errors
from cosnet_jax.progress import track
from cosnet_jax.threads import map_in_threads
from cosnet_jax.video import images as image_files
from cosnet_jax.video.masks import read_mask


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
    """Checks the files of a raw dataset and writes them as records. A subclass implements `scan` for its layout.

    The metadata contain the fingerprint of the source, the share of foreground of each split, and for each split the
    sequences in order, see `sequence_index`.
    """

    VERSION = tfds.core.Version("1.1.0")  # of the records
    LAYOUT: ClassVar[str] = "the layout in the description of its builder"  # for error messages
    SEVERAL: ClassVar[bool] = False  # a source can be several sets, each prepared by itself
    code_path = None  # otherwise TFDS would search beside the code for checksums of downloads

    def __init__(self, splits: dict[str, list[Frame]] | None = None, fingerprint: str = "", **kwargs: Any):
        super().__init__(file_format="array_record", **kwargs)
        self.splits = {split: frames for split, frames in (splits or {}).items() if frames}
        self.fingerprint = fingerprint

    @classmethod
    def get_builder_config(cls, name: str, version: str | None = None) -> tfds.core.BuilderConfig:
        """Makes the configuration of a set of that name; TFDS calls this."""
        return tfds.core.BuilderConfig(name=name, version=version)

    @classmethod
    def scan(cls, source: Path) -> Scan:
        """Lists the frames of a raw dataset, and problems, without opening images; no frames if it is another one."""
        raise NotImplementedError

    @classmethod
    def read_mask(cls, path: Path) -> np.ndarray:
        """Reads a mask of the raw dataset: bool (H, W). Raises an InputError for a file that is none."""
        return read_mask(path)

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
            metadata=tfds.core.MetadataDict(foreground={}),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager
        self.info.metadata["fingerprint"] = self.fingerprint
        self.info.metadata["sequences"] = {split: sequence_index(frames) for split, frames in self.splits.items()}
        return {split: self._generate_examples(split, frames) for split, frames in self.splits.items()}

    def _generate_examples(self, split: str, frames: list[Frame]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields the examples of a split; raises an InputError at the end if files of it are damaged."""
        problems, shares = [], []
        tasks = ((key, (frame,)) for key, frame in enumerate(frames))
        results = map_in_threads(self._example_or_error, tasks)
        for key, result in track(results, f"preparing {self.info.full_name}, {split}", total=len(frames)):
            if isinstance(result, InputError):
                problems.append(str(result))
                continue
            example, share = result
            shares += [share] * example["annotated"]
            yield key, example | {"index": key}
        if shares and min(shares) == max(shares) and shares[0] in (0, 1):
            kind, mask = "full" if shares[0] else "empty", next(frame.mask for frame in frames if frame.mask)
            problems.append(f"all {len(shares)} masks are {kind}; expected objects, look at {mask}")
        check_problems(self.info.full_name, problems)
        self.info.metadata["foreground"][split] = float(np.mean(shares)) if shares else 0.0

    def _example_or_error(self, frame: Frame) -> tuple[dict[str, Any], float] | InputError:
        try:
            with report_read_errors(frame.image):
                return self._example(frame)
        except UnicodeEncodeError:
            return InputError(f"{frame.image}: expected a name in UTF-8, rename the file or its folder")
        except InputError as error:
            return error

    def _example(self, frame: Frame) -> tuple[dict[str, Any], float]:
        """Reads a frame. Returns its example and its share of foreground; raises an InputError for a damaged file."""
        image = _read_image(frame.image)
        if frame.mask is None:
            mask = np.zeros(image.shape[:2], np.uint8)
        elif frame.soft:
            mask, *others = np.moveaxis(_read_image(frame.mask), -1, 0)
            if not all(np.array_equal(mask, other) for other in others):
                raise InputError(f"{frame.mask} has colours: expected a grey map, 255 times the probability")
        else:
            mask = self.read_mask(frame.mask).astype(np.uint8) * 255
        (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
        if (height, width) != (mask_height, mask_width):
            raise InputError(
                f"{frame.mask} is {mask_width}x{mask_height} (width x height), {frame.image} is {width}x{height}: "
                "expected equal sizes; each is turned as its own EXIF orientation says"
            )
        example = {
            "image": frame.image.read_bytes(),
            "mask": cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_BILEVEL, int(not frame.soft)])[1].tobytes(),
            "sequence": frame.sequence.encode(),
            "frame": frame.name.encode(),
            "annotated": frame.mask is not None,
        }
        return example, float((mask > 127).mean())


def _read_image(path: Path) -> np.ndarray:
    data = path.read_bytes()
    if image_files.is_truncated(data):  # OpenCV would fill the missing part of a JPEG with grey
        raise InputError(f"{path} is truncated ({len(data)} bytes): copy it again")
    image = image_files.decode_image(data)
    if image is None:
        raise InputError(f"{path}: not a readable image; copy it again, or convert it to JPEG")
    return image


def check_problems(name: str, problems: list[str]) -> None:
    """Raises an InputError with the first problem of a set, after printing the others, if there are any."""
    for problem in problems[1:]:
        print(printable(problem), file=sys.stderr)
    if problems:
        others = f"; {len(problems) - 1} more are printed above" if problems[1:] else ""
        raise InputError(f"{name}: {problems[0]}{others}")


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
