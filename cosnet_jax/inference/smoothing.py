"""Averages the probability maps of neighbouring frames where the picture stays the same, so that masks flicker less."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Generator, Sequence

import cv2
import numpy as np

REACH = 2  # standard deviations in time beyond which a frame has no weight
COLOUR_DEVIATION = 20.0  # grey levels; chosen on sequences that no score is reported on, see experiments/LOG.md
SUM_OF_COLOURS = np.full((1, 3), -0.5 / COLOUR_DEVIATION**2, np.float32)  # the exponent of a Gaussian, from squares

Maps = tuple[int, np.ndarray, list[np.ndarray]]


class Average:
    """A frame whose maps are being averaged with those of the frames around it."""

    def __init__(self, number: int, frame: np.ndarray, maps: list[np.ndarray]):
        self.number, self.frame, self.maps = number, frame, maps
        size = maps[0].shape[1::-1]
        # The frame at the size of the maps, a little blurred: single pixels of texture would leave specks.
        self.picture = cv2.blur(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), (3, 3))
        # Sums over the frames so far, itself included, one map for each of the options.
        self.totals = [map_.copy() for map_ in maps]
        self.weights = [np.ones_like(map_) for map_ in maps]

    def add_neighbour(self, other: Average, deviations: Sequence[float]) -> None:
        """Adds the maps of each to the totals of the other, weighted by how alike the two look at a pixel."""
        distance = abs(self.number - other.number)
        difference = cv2.absdiff(other.picture, self.picture)
        squares = cv2.multiply(difference, difference, dtype=cv2.CV_32F)
        likeness = cv2.exp(cv2.transform(squares, SUM_OF_COLOURS))
        for option, deviation in enumerate(deviations):
            if not 0 < distance <= math.ceil(REACH * deviation):
                continue
            weight = likeness * np.float32(math.exp(-0.5 * (distance / deviation) ** 2))
            for average, neighbour in ((self, other), (other, self)):
                cv2.accumulateProduct(weight, neighbour.maps[option], average.totals[option])
                cv2.accumulate(weight, average.weights[option])

    def finish(self, deviations: Sequence[float]) -> Maps:
        """Returns the frame with the averages for the maps."""
        sums = zip(deviations, self.maps, self.totals, self.weights, strict=True)
        averages = [total / weights if deviation else map_ for deviation, map_, total, weights in sums]
        return self.number, self.frame, averages


def smooth(predicted: Generator[Maps], deviations: Sequence[float]) -> Generator[Maps]:
    """Averages each map with those of the frames around it, in time and colour (a bilateral filter along time).

    At each pixel a neighbouring frame weighs less the further it is away and the more its colour differs there. So
    things that move leave no ghosts, and no optical flow is needed.

    Args:
      predicted: (number, frame, maps) of frames in ascending order. A frame is (H, W, 3) uint8. The maps are one for
        each of the options, (h, w) float32, all of one size, which need not be the frame's.
      deviations: for each of the options the standard deviation of the weights in frames; 0 leaves the maps as they
        are.

    Yields:
      The same with the averages for the maps. A frame is held back until the frames within `REACH` standard deviations
      after it have come, so memory does not grow with the video. `predicted` is closed with this generator.
    """
    reach = max(math.ceil(REACH * deviation) for deviation in deviations)
    waiting: deque[Average] = deque()  # for frames within reach
    with contextlib.closing(predicted):
        for number, frame, maps in predicted:
            while waiting and number > waiting[0].number + reach:
                yield waiting.popleft().finish(deviations)
            newest = Average(number, frame, maps)
            for other in waiting:
                newest.add_neighbour(other, deviations)
            waiting.append(newest)
        while waiting:
            yield waiting.popleft().finish(deviations)
