"""The base class of all dataset builders: TFDS writes one example per frame as array_record, without TensorFlow."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from cosnet_jax.files import is_special
from cosnet_jax.progress import track
from cosnet_jax.threads import map_in_threads, usable_cores
from cosnet_jax.video import images as image_files

MAX_THREADS = min(8, usable_cores())


class Frame(NamedTuple):
    """One frame of the raw dataset: its sequence, its name and its files."""

    sequence: str
    name: str
    image: Path
    mask: Path | None  # None: the dataset has no annotation for this frame


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
        """Hashes the relative paths, sizes and modification times of all files of the dataset.

        Args:
          source: folder of the raw dataset; paths are taken relative to it.

        Returns:
          64 hexadecimal digits.
        """
        files = {path for frame in self.frames() for path in (frame.image, frame.mask) if path} | set(self.listings)
        digest = hashlib.sha256()
        for path in sorted(files):
            status = os.stat(path)
            digest.update(os.fsencode(os.path.relpath(path, source)))
            digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


class FramesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A builder that reads a raw dataset from the folder `DownloadConfig.manual_dir`.

    A subclass implements `scan` for its folder layout. The metadata contain the fingerprint of the source and, for each
    split, the sequences in order, see `sequence_index`.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The description says where the dataset is obtained; unpack it and name its folder."
    MASK_THRESHOLD: ClassVar[int] = 127

    # Without this, TFDS would search next to the code for checksums of downloads, with a package that it does not
    # install. These builders download nothing.
    code_path = None

    def __init__(self, **kwargs: Any):
        super().__init__(file_format="array_record", **kwargs)

    @classmethod
    def scan(cls, source: Path) -> Scan:
        """Lists the frames of a raw dataset without opening images.

        Args:
          source: folder of the raw dataset.

        Returns:
          The frames and the problems found.
        """
        raise NotImplementedError

    @classmethod
    def read_mask(cls, path: Path) -> np.ndarray | None:
        """Reads a mask of the raw dataset.

        Args:
          path: the mask's file.

        Returns:
          bool (H, W), or None if the file is not an image.
        """
        return image_files.decode_mask(path.read_bytes(), cls.MASK_THRESHOLD)

    @classmethod
    def check_frame(cls, frame: Frame) -> list[str]:
        """Checks that the files of a frame can be decoded.

        Args:
          frame: a frame from `scan`.

        Returns:
          One line per problem: something that is no file, a truncated or unreadable file, or a mask that differs in
          size from the image.
        """
        problems = []
        shapes = {}
        for kind, path in (("image", frame.image), ("mask", frame.mask)):
            if path is None:
                continue
            if is_special(path):
                problems.append(f"{path} is not a file: expected a {path.suffix[1:]} {kind}")
                continue
            try:
                data = path.read_bytes()
            except OSError as error:
                problems.append(f"{path} cannot be read ({error.strerror}): expected a {path.suffix[1:]} {kind}")
                continue
            if image_files.is_truncated(data):
                problems.append(f"{path} is truncated ({len(data)} bytes): expected a complete {path.suffix[1:]} file")
                continue
            decoded = image_files.decode_image(data) if kind == "image" else cls.read_mask(path)
            if decoded is None:
                problems.append(f"{path} cannot be read ({len(data)} bytes): expected a {path.suffix[1:]} {kind}")
            else:
                shapes[kind] = decoded.shape[:2]
        if len(shapes) == 2 and shapes["image"] != shapes["mask"]:
            (mask_height, mask_width), (height, width) = shapes["mask"], shapes["image"]
            problems.append(
                f"{frame.mask} is {mask_width}x{mask_height} (width x height): expected {width}x{height}, "
                f"the size of {frame.image}"
            )
        return problems

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
        self.info.metadata["sequences"] = {split: sequence_index(frames) for split, frames in scan.splits.items()}
        return {split: self._generate_examples(split, frames) for split, frames in scan.splits.items()}

    def _generate_examples(self, split: str, frames: list[Frame]) -> Iterator[tuple[int, dict[str, Any]]]:
        tasks = ((key, (frame,)) for key, frame in enumerate(frames))
        examples = map_in_threads(self._example, tasks, MAX_THREADS)
        for key, example in track(examples, f"writing {self.info.full_name}, {split}", total=len(frames)):
            yield key, example | {"index": key}

    def _example(self, frame: Frame) -> dict[str, Any]:
        image = frame.image.read_bytes()
        if frame.mask is None:
            mask = np.zeros(image_files.decode_image(image).shape[:2], bool)
        else:
            mask = self.read_mask(frame.mask)
        return {
            "image": image,
            "mask": image_files.encode_mask(mask, one_bit=True),
            "sequence": frame.sequence,
            "frame": frame.name,
            "annotated": frame.mask is not None,
        }


def sequence_index(frames: list[Frame]) -> list[dict[str, Any]]:
    """Describes the sequences of a split.

    Args:
      frames: the frames of the split in order; the frames of a sequence are consecutive.

    Returns:
      For each sequence {"name", "start": index of its first frame in the split, "frames": frame names, "annotated":
      indices of its annotated frames within the sequence, or None if all are annotated}.
    """
    index: list[dict[str, Any]] = []
    for position, frame in enumerate(frames):
        if not index or index[-1]["name"] != frame.sequence:
            index.append({"name": frame.sequence, "start": position, "frames": [], "annotated": []})
        if frame.mask is not None:
            index[-1]["annotated"].append(len(index[-1]["frames"]))
        index[-1]["frames"].append(frame.name)
    for entry in index:
        if len(entry["annotated"]) == len(entry["frames"]):
            entry["annotated"] = None
    return index
