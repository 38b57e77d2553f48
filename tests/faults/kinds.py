"""What a kind of input is: sound files to damage, and the way that the package reads them."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from faults.mutations import mutate

Mutator = Callable[[bytes, Sequence[bytes], random.Random], bytes]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
      name: its name in the table.
      make: writes sound inputs into an empty folder; returns the paths in it of the files to damage.
      read: reads (folder, file) as the package does, where one of the files is damaged. It may return or raise an
        `InputError`; anything else is a failure.
      mutate: damages the bytes of a file.
    """

    name: str
    make: Callable[[Path], list[str]]
    read: Callable[[Path, Path], None]
    mutate: Mutator = mutate


def damaged(kind: Kind, sound: Mapping[str, bytes], number: int) -> tuple[str, bytes]:
    """The input of a number: the path of a file and its damaged bytes. It depends on the arguments alone.

    Args:
      kind: the kind.
      sound: path -> bytes of the files to damage.
      number: which input.
    """
    rng = random.Random(f"{kind.name} {number}")
    name = rng.choice(sorted(sound))
    return name, kind.mutate(sound[name], list(sound.values()), rng)
