"""Averages the probability maps of neighbouring frames where the picture stays the same, so that masks flicker less."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

REACH = 2  # standard deviations in time beyond which a frame has no weight
COLOUR_DEVIATION = 20.0  # grey levels; chosen on sequences that no score is reported on, see experiments/LOG.md

Maps = tuple[int, np.ndarray, list[np.ndarray]]


class Neighbour(NamedTuple):
    """What is kept of a frame for those around it.

    Attributes:
      number: its number in the video.
      maps: (h, w) float32 each, one for each way of segmenting.
      picture: (h, w, 3) float32, the frame at the size of the maps.
    """

    number: int
    maps: list[np.ndarray]
    picture: np.ndarray


def smooth(segmented: Generator[Maps], deviations: Sequence[float]) -> Generator[Maps]:
    """Averages each map with those of the frames around it, in time and colour (a bilateral filter along time).

    At each pixel a neighbouring frame weighs less the further it is away and the more its colour differs there. So
    things that move leave no ghosts, and no optical flow is needed.

    Args:
      segmented: (number, frame, maps) of frames in ascending order. A frame is (H, W, 3) uint8. The maps are one for
        each way of segmenting, (h, w) float32, all of one size, which need not be the frame's.
      deviations: for each way the standard deviation of the weights in frames; 0 leaves its maps as they are.

    Yields:
      The same with the averages for the maps. A frame is held back until the frames within `REACH` standard deviations
      after it have come, so memory does not grow with the video. `segmented` is closed with this generator.
    """
    reaches = [math.ceil(REACH * deviation) for deviation in deviations]
    reach = max(reaches)
    waiting: deque[tuple[np.ndarray, Neighbour]] = deque()
    window: deque[Neighbour] = deque()

    def finish() -> Maps:
        frame, centre = waiting.popleft()
        while window[0].number < centre.number - reach:
            window.popleft()
        maps = [average(centre, window, way, deviation) for way, deviation in enumerate(deviations)]
        return centre.number, frame, maps

    with contextlib.closing(segmented):
        for number, frame, maps in segmented:
            while waiting and number > waiting[0][1].number + reach:
                yield finish()
            size = maps[0].shape[1::-1]
            neighbour = Neighbour(
                number, maps, cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.float32)
            )
            waiting.append((frame, neighbour))
            window.append(neighbour)
        while waiting:
            yield finish()


def average(centre: Neighbour, window: Iterable[Neighbour], way: int, deviation: float) -> np.ndarray:
    """Averages the maps of the frames around one; see `smooth`.

    Args:
      centre: the frame.
      window: the frames around it, itself among them.
      way: position of the maps.
      deviation: in frames.

    Returns:
      (h, w) float32.
    """
    if not deviation:
        return centre.maps[way]
    total, weights = centre.maps[way].copy(), np.ones_like(centre.maps[way])
    for other in window:
        distance = abs(other.number - centre.number)
        if 0 < distance <= math.ceil(REACH * deviation):
            difference = (other.picture - centre.picture) / np.float32(COLOUR_DEVIATION)
            squares = np.einsum("hwc,hwc->hw", difference, difference) + np.float32((distance / deviation) ** 2)
            weight = np.exp(np.float32(-0.5) * squares)
            total += weight * other.maps[way]
            weights += weight
    return total / weights
