"""The visitors of `cosnet app`: each has at most one clip, whose files go when the visitor has left or is idle."""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
import time
from pathlib import Path

from cosnet_jax.commands.app_clip import Clip, Limits
from cosnet_jax.errors import InputError
from cosnet_jax.files import writable_folder

UPLOADS, PRIVATE, PUBLIC = "uploads", "private", "public"


class Visitors:
    """Keeps the clips of visitors, used in a `with` block; in its end all clips are removed.

    A thread looks every `period` seconds for what is too old: the clip of a visitor who does nothing with it, or whose
    page is closed or out of reach, and an upload that no clip came of. A phone that sleeps is out of reach for a while.

    Attributes:
      uploads: folder where the server puts what is uploaded.
      public: folder whose files the page serves.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        idle_seconds: float = 3600.0,
        left_seconds: float = 300.0,
        period: float = 15.0,
    ):
        """Makes the folders.

        Args:
          folder: where all files are.
          limits: what visitors may upload.
          idle_seconds: how long a clip is kept after its last use.
          left_seconds: as long, once the page is closed.
          period: seconds between two looks.
        """
        self.uploads, self.public = writable_folder(folder / UPLOADS), writable_folder(folder / PUBLIC)
        self._private, self._limits = writable_folder(folder / PRIVATE), limits
        self._idle_seconds, self._left_seconds = idle_seconds, left_seconds
        self._clips: dict[str, Clip] = {}
        self._leftovers: list[Clip] = []  # removed ones, of which something is left
        self._lock, self._end = threading.Lock(), threading.Event()
        self._sweeper = threading.Thread(target=self._sweep_until_the_end, args=(period,), daemon=True)

    def receive(self, visitor: str, upload: Path) -> Clip:
        """Takes over an upload, in place of the visitor's clip before.

        Raises:
          InputError: see `Clip`.
        """
        self._remove(visitor)
        name = secrets.token_hex(16)
        clip = Clip(upload, self._private / name, self.public / name, self._limits)
        with self._lock:
            self._clips[visitor] = clip
        return clip

    def clip(self, visitor: str) -> Clip:
        """Returns the visitor's clip, and keeps it for longer.

        Raises:
          InputError: there is none, or it was removed.
        """
        with self._lock:
            if visitor not in self._clips:
                minutes = self._idle_seconds / 60
                raise InputError(f"there is no video; one is removed after {minutes:g} minutes. Upload it again.")
            clip = self._clips[visitor]
            clip.used, clip.left = time.monotonic(), False
        return clip

    def message(self, error: InputError) -> str:
        """Returns what an error says, without the folders of this machine."""
        clip = rf"({re.escape(str(self._private))}|{re.escape(str(self.public))})/\w+"
        return re.sub(clip, "the server's folder", re.sub(rf"{clip}/(tmp\w+/)?", "", str(error)))

    def leave(self, visitor: str) -> None:
        """Notes that a visitor's page was closed, or lost its connection."""
        with self._lock:
            if visitor in self._clips:
                self._clips[visitor].used, self._clips[visitor].left = time.monotonic(), True

    def sweep(self) -> None:
        """Removes what is too old."""
        now, today = time.monotonic(), time.time()
        with self._lock:
            clips = list(self._clips.items())
            leftovers, self._leftovers = self._leftovers, []
        for clip in leftovers:
            self._discard(clip)
        for visitor, clip in clips:
            if now - clip.used > (self._left_seconds if clip.left else self._idle_seconds):
                self._remove(visitor)
        for file in self.uploads.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # it became a clip just now
                if file.is_file() and today - file.stat().st_mtime > self._idle_seconds:
                    file.unlink()

    def _remove(self, visitor: str) -> None:
        with self._lock:
            clip = self._clips.pop(visitor, None)
        if clip:
            self._discard(clip)

    def _discard(self, clip: Clip) -> None:
        if not clip.remove():
            with self._lock:
                self._leftovers.append(clip)

    def _sweep_until_the_end(self, period: float) -> None:
        while not self._end.wait(period):
            self.sweep()

    def __enter__(self) -> Visitors:
        self._sweeper.start()
        return self

    def __exit__(self, kind, value, traceback) -> None:
        self._end.set()
        self._sweeper.join()
        for visitor in list(self._clips):
            self._remove(visitor)
