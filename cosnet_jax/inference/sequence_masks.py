"""The masks of a dataset's sequence on disk, and the record by which a later run knows that they are finished."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from cosnet_jax.data.sequence import Sequence
from cosnet_jax.files import remove_temporaries, report_write_errors, write_bytes, write_text
from cosnet_jax.inference.provenance import digest_of, digest_of_json
from cosnet_jax.video.images import encode_mask

RECORD = "finished.json"  # in the first folder of a sequence's masks


class SequenceMasks:
    """Writes the masks of one sequence, of one or several kinds: a folder `<sequence>` of `<frame>.png` for each kind.

    With the last mask comes `finished.json`, with digests of the settings, the frames and the masks. While all three
    are right, the sequence is finished.

    Args:
      sequence: the sequence.
      kinds: for each kind of masks the folder of all sequences.
      settings: JSON-able; what decides the masks, apart from the frames.
    """

    def __init__(self, sequence: Sequence, kinds: Collection[Path], settings: dict[str, Any]):
        self.sequence = sequence
        self._paths = [[kind / sequence.name / f"{name}.png" for name in sequence.frame_names] for kind in kinds]
        self._record = self._paths[0][0].with_name(RECORD)
        self._settings = digest_of_json(settings)
        self._frames: list[str] = []
        self._masks = [[""] * len(sequence) for _ in kinds]  # digests of the files that were written

    def is_finished(self) -> bool:
        """Tells whether an earlier run finished the sequence. It reads masks and frames only if the settings are right.

        Raises:
          InputError: a frame cannot be read.
        """
        try:
            record = json.loads(self._record.read_bytes())
            if record["settings"] != self._settings:
                return False
            masks = [[digest_of(path.read_bytes()) for path in paths] for paths in self._paths]
            expected = record["frames"], record["masks"]
        except (OSError, ValueError, LookupError, TypeError):  # there is none, or it is damaged
            return False
        return (digest_of_json([_digest(frame) for frame in self.sequence]), digest_of_json(masks)) == expected

    def begin(self) -> None:
        """Makes the folders, and removes earlier masks.

        Raises:
          InputError: a folder cannot be written to.
        """
        for folder in {paths[0].parent: None for paths in self._paths}:
            with report_write_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                remove_temporaries(folder, "*")
                for path in (folder / RECORD, *folder.glob("*.png")):
                    path.unlink(missing_ok=True)

    def add_frame(self, frame: np.ndarray) -> None:
        """Notes the next frame, uint8 (H, W, 3), that is segmented."""
        self._frames.append(_digest(frame))

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
        write_bytes(self._paths[kind][index], data)
        self._masks[kind][index] = digest_of(data)
        if all(all(digests) for digests in self._masks):
            digests = {"frames": digest_of_json(self._frames), "masks": digest_of_json(self._masks)}
            write_text(self._record, json.dumps({"settings": self._settings, **digests}))


def _digest(frame: np.ndarray) -> str:
    return digest_of(f"{frame.shape}".encode(), np.ascontiguousarray(frame))
