"""The masks of a dataset's sequence on disk, and the record by which a later run knows that they are finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cosnet_jax.files import remove_temporaries, report_write_errors, write_bytes, write_text
from cosnet_jax.inference.provenance import digest_of, digest_of_json
from cosnet_jax.video.images import encode_mask
from cosnet_jax.video.video import Video

RECORD = "finished.json"  # in the first folder of a sequence's masks


class NamedVideo(Video, Protocol):
    """A video whose frames have names; `cosnet_jax.data.sequence.Sequence` is one."""

    @property
    def name(self) -> str: ...

    @property
    def frame_names(self) -> tuple[str, ...]: ...


class SequenceMasks:
    """Writes the masks of one sequence, of one or several kinds: a folder `<sequence>` of `<frame>.png` for each kind.

    With the last mask comes `finished.json`, with digests of the settings, the frames and the masks. While all three
    are right, the sequence is finished.

    Args:
      sequence: the sequence.
      kinds: for each kind of masks the folder of all sequences.
      settings: JSON-able; what decides the masks, apart from the frames.
    """

    def __init__(self, sequence: NamedVideo, kinds: Sequence[Path], settings: dict[str, Any]):
        self.sequence = sequence
        self._folders = [kind / sequence.name for kind in kinds]
        self._settings = digest_of_json(settings)
        self._frames = hashlib.blake2b(digest_size=16)
        self._masks = [[""] * len(sequence) for _ in kinds]  # digests of the files that were written
        self._left = len(sequence) * len(kinds)

    def is_finished(self) -> bool:
        """Tells whether an earlier run finished the sequence. It reads masks and frames only if the settings are right.

        Raises:
          InputError: a frame cannot be read.
        """
        try:
            record = json.loads((self._folders[0] / RECORD).read_bytes())
            if record["settings"] != self._settings or record["masks"] != digest_of_json(self._digests_on_disk()):
                return False
            expected = record["frames"]
        except (OSError, ValueError, LookupError, TypeError):  # there is none, or it is damaged
            return False
        frames = hashlib.blake2b(digest_size=16)
        for frame in self.sequence:
            _add_frame(frames, frame)
        return frames.hexdigest() == expected

    def begin(self) -> None:
        """Makes the folders, and removes masks of frames that the sequence does not have.

        Raises:
          InputError: a folder cannot be written to.
        """
        wanted = {f"{name}.png" for name in self.sequence.frame_names}
        for folder in self._folders:
            with report_write_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / RECORD).unlink(missing_ok=True)
                remove_temporaries(folder, "*")
                for path in folder.glob("*.png"):
                    if path.name not in wanted:
                        path.unlink()

    def add_frame(self, frame: np.ndarray) -> None:
        """Notes the next frame, uint8 (H, W, 3), that is segmented."""
        _add_frame(self._frames, frame)

    def write(self, kind: int, index: int, mask: np.ndarray) -> None:
        """Writes a mask as a grey PNG of 0 and 255; after the last one of all kinds the sequence is finished.

        Args:
          kind: which of the kinds, from 0.
          index: of the frame.
          mask: (H, W) bool.

        Raises:
          InputError: the file cannot be written.
        """
        data = encode_mask(mask)
        write_bytes(self._folders[kind] / f"{self.sequence.frame_names[index]}.png", data)
        self._masks[kind][index] = digest_of(data)
        self._left -= 1
        if not self._left:
            masks = digest_of_json(self._masks)
            record = {"settings": self._settings, "frames": self._frames.hexdigest(), "masks": masks}
            write_text(self._folders[0] / RECORD, json.dumps(record))

    def _digests_on_disk(self) -> list[list[str]]:
        names = [f"{name}.png" for name in self.sequence.frame_names]
        return [[digest_of((folder / name).read_bytes()) for name in names] for folder in self._folders]


def _add_frame(digest: Any, frame: np.ndarray) -> None:
    digest.update(f"{frame.shape} ".encode())
    digest.update(np.ascontiguousarray(frame).reshape(-1))
