"""Keeps one object of a video, chosen by a click, and drops the others."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Generator, Iterable

import cv2
import numpy as np

from cosnet_jax.errors import InputError

REACH = 1 / 50  # of the longer side: how far the object may move from frame to frame, and a click may miss it


def keep_object(
    maps: Iterable[np.ndarray], x: int, y: int, frame: int = 0, threshold: float = 0.5
) -> Generator[np.ndarray]:
    """Keeps the connected part of the foreground at a pixel, and what continues it in the frames after and before.

    From frame to frame, parts within `REACH` of the object's last place belong to it; so does an object that touches
    it. An object that is hidden for some frames is found again where it was last seen.

    Example:
      maps = keep_object(segmenter.stream("clip.mp4"), 120, 80, frame=10)

    Args:
      maps: the probabilities of a video's frames in order, (H, W) float32. It is read as the result is.
      x, y: column and row of a pixel on the object, in the frame of number `frame`, from 0.
      threshold: foreground is what is above.

    Yields:
      The maps with 0 instead of the other objects, their soft edges included. The first one comes after the map of
      `frame` is read; the maps up to it lie in a temporary file, 4 bytes a pixel, so memory does not grow.

    Raises:
      InputError: there is no such frame, or no foreground at this pixel.
    """
    maps = iter(maps)
    with tempfile.TemporaryFile() as file:
        count = 0
        for count, map_ in enumerate(itertools.islice(maps, frame + 1), 1):
            if count == 1:
                held = np.memmap(file, np.float32, "w+", shape=(frame + 1, *map_.shape))
            held[count - 1] = map_
        if not 0 <= frame < count or not (0 <= x < held.shape[2] and 0 <= y < held.shape[1]):
            raise InputError(f"--keep is {x},{y},{frame}; expected a pixel and a frame of the video")
        clicked = np.zeros(held.shape[1:], bool)
        clicked[y, x] = True
        held[frame], clicked = _keep(held[frame], clicked, threshold)
        if not held[frame].max() > threshold:
            raise InputError(f"--keep is {x},{y},{frame}; no object was found at this pixel of this frame")
        place = clicked
        for index in reversed(range(frame)):
            held[index], place = _keep(held[index], place, threshold)
        for map_ in held:
            yield np.array(map_)
        del held, map_  # Windows removes the file only without them
    place = clicked
    for map_ in maps:
        kept, place = _keep(map_, place, threshold)
        yield kept


def _keep(map_: np.ndarray, place: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns a map with 0 instead of what is not the object, and the object's place, bool, from its last place."""
    mask = map_ > threshold
    # For each pixel the number of the connected part that it is in or nearest to.
    _, parts = cv2.distanceTransformWithLabels(np.uint8(~mask), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)
    width = 2 * round(REACH * max(mask.shape)) + 1
    near = cv2.dilate(np.uint8(place), np.ones((width, width), np.uint8)) > 0
    is_kept = np.zeros(parts.max() + 1, bool)
    is_kept[parts[mask & near]] = True
    kept = is_kept[parts]
    return np.where(kept, map_, 0), mask & kept if kept.any() else place
