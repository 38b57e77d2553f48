"""What all builders share: one example per annotated frame, written by TFDS as array_record without TensorFlow."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import grain
import numpy as np
import tensorflow_datasets as tfds

from cosnet_jax.progress import track
from cosnet_jax.video import images as image_files

MAX_THREADS = 8


class Frame(NamedTuple):
    """One frame of the raw dataset: where it belongs and the files it is made of."""

    sequence: str
    name: str
    image: Path
    mask: Path | None  # None: the dataset has no annotation for this frame


@dataclasses.dataclass
class Scan:
    """What a raw dataset folder holds, from its listings and file names alone.

    Attributes:
      splits: the frames of each split, sequence after sequence, in order.
      listings: files other than the frames that decide what the dataset is.
      problems: one line for everything that is not as the layout says; empty means nothing is missing.
      notes: one line for everything that is odd but does no harm.
    """

    splits: dict[str, list[Frame]] = dataclasses.field(default_factory=dict)
    listings: list[Path] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def frames(self) -> list[Frame]:
        """All frames of all splits."""
        return [frame for frames in self.splits.values() for frame in frames]

    def fingerprint(self, source: Path) -> str:
        """Digests the relative paths, sizes and modification times of all files of the dataset.

        Args:
          source: the folder that the paths are relative to.

        Returns:
          64 hexadecimal digits.
        """
        files = {path for frame in self.frames() for path in (frame.image, frame.mask) if path} | set(self.listings)
        digest = hashlib.sha256()
        for path in sorted(files):
            status = os.stat(path)
            digest.update(f"{os.path.relpath(path, source)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


class FramesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder whose dataset is read from the folder given as `DownloadConfig.manual_dir`.

    A subclass says how the folder is laid out (`scan`); everything else is here. The metadata hold the fingerprint of
    the source and, for each split, the sequences in order: {"name", "start", "frames", "annotated"}.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The description says where the dataset is obtained; unpack it and name its folder."
    MASK_THRESHOLD: ClassVar[int] = 127

    # TFDS looks beside the code for the checksums of downloads, by way of a package that it does not install. Here
    # nothing is downloaded.
    code_path = None

    def __init__(self, **kwargs: Any):
        super().__init__(file_format="array_record", **kwargs)

    @classmethod
    def scan(cls, source: Path) -> Scan:
        """Lists what a raw dataset holds, without opening images.

        Args:
          source: its folder.

        Returns:
          The frames, and what is wrong.
        """
        raise NotImplementedError

    @classmethod
    def read_mask(cls, path: Path) -> np.ndarray | None:
        """Reads a mask of the raw dataset.

        Args:
          path: its file.

        Returns:
          bool (H, W), or None where the file is no image.
        """
        return image_files.decode_mask(path.read_bytes(), cls.MASK_THRESHOLD)

    @classmethod
    def check_frame(cls, frame: Frame) -> list[str]:
        """Decodes a frame's files.

        Args:
          frame: one that `scan` listed.

        Returns:
          One line for each thing wrong: truncated or unreadable files, a mask of another size than the image.
        """
        problems = []
        shapes = {}
        for kind, path in (("image", frame.image), ("mask", frame.mask)):
            if path is None:
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
                    "image": tfds.features.Image(shape=(None, None, 3)),  # as the source has it, mostly JPEG
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
        examples = map_in_threads(self._example, frames)
        for key, example in enumerate(track(examples, f"writing {self.info.full_name}, {split}", total=len(frames))):
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
    """The sequences of a split: name, position of the first frame, frame names, positions of annotated frames.

    Args:
      frames: the frames of the split, in order, those of a sequence next to each other.

    Returns:
      One {"name", "start", "frames", "annotated"} for each sequence; "annotated" is None where all frames are.
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


def map_in_threads(function: Callable[[Any], Any], items: list) -> Iterator[Any]:
    """Applies a function to items in a few threads that work ahead by a few results.

    Args:
      function: safe to call from several threads.
      items: its arguments.

    Yields:
      `function(item)` for each item, in order.
    """
    options = grain.ReadOptions(num_threads=min(MAX_THREADS, os.cpu_count() or 1), prefetch_buffer_size=4 * MAX_THREADS)
    results = iter(grain.MapDataset.source(items).map(function).to_iter_dataset(options))
    try:
        yield from results
    finally:
        results.close()
