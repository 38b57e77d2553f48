"""Segments a live source: each frame is compared with earlier frames only, in constant time and memory."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.inference.guided_filter import enlarge
from cosnet_jax.inference.network import Encoded, get_network
from cosnet_jax.inference.resize import match_orientation, resize_frame
from cosnet_jax.inference.smoothing import REACH, Average

if TYPE_CHECKING:
    from cosnet_jax.inference.segmenter import Segmenter


class OnlineSegmenter:
    """Finds the primary object of a video frame by frame, while it comes.

    The references are the first frame and a spread of earlier ones that thins with age, see `choose_forgotten`. Each
    frame is encoded once. Smoothing along time looks back only. The first frame is its own reference.

    Args:
      segmenter: has the network, and says how frames are compared; its sampling does not count.
      num_references: N; 0 takes the encoder's own prediction.

    Example:
      online = Segmenter.from_pretrained().online()
      for frame in camera: probability = online.push(frame)
    """

    def __init__(self, segmenter: Segmenter, num_references: int = 5):
        self._segmenter, self._config = segmenter, segmenter.config
        self._count = num_references if segmenter.model.coattention != "none" else 0
        self._references: dict[int, Encoded] = {}  # by the number of the frame, ascending
        reach = math.ceil(REACH * self._config.temporal_smoothing)
        self._recent: deque[Average] = deque(maxlen=reach)
        self._number, self._size = 0, None

    def push(self, frame: np.ndarray) -> np.ndarray:
        """Segments the next frame.

        Args:
          frame: (H, W, 3) uint8 RGB, of the size of the frames before it.

        Returns:
          (H, W) float32: the probability of the primary object.

        Raises:
          InputError: the frame has another type or size.
        """
        if self._size is None:
            self._size = frame.shape[:2]
            size = match_orientation(self._config.size, self._size)
            self._network = get_network(self._segmenter.model, size, 1, self._segmenter.matmul_precision)
            self._variables = self._network.replicate(self._segmenter.variables)
        if frame.shape != (*self._size, 3) or frame.dtype != np.uint8:
            raise InputError(f"frame {self._number} is {frame.shape} {frame.dtype}; expected {(*self._size, 3)} uint8")
        number, self._number = self._number, self._number + 1
        (encoded,) = self._network.encode(self._variables, [resize_frame(frame, self._network.size)])
        # The references are repeated in turn up to N, so that one program is compiled.
        references = list(self._references) or [number]
        rows = np.resize(references, (1, self._count)) if self._count else np.zeros((1, 0), int)
        known = {**self._references, number: encoded}
        maps = self._network.predict(self._variables, known, [number], rows, self._config.fusion, self._count)
        if self._count:
            self._references[number] = encoded
        if len(self._references) > self._count:
            del self._references[choose_forgotten(list(self._references))]
        return enlarge(self._smooth(number, frame, np.asarray(maps)[0]), frame, self._config.edge_radius)

    def _smooth(self, number: int, frame: np.ndarray, probability: np.ndarray) -> np.ndarray:
        if not self._recent.maxlen:
            return probability
        newest, deviations = Average(number, frame, [probability]), [self._config.temporal_smoothing]
        for earlier in self._recent:
            newest.add_neighbour(earlier, deviations)
        self._recent.append(newest)
        return newest.finish(deviations)[2][0]


def choose_forgotten(numbers: list[int]) -> int:
    """Chooses which of the remembered frames goes, so that their ages stay evenly spread on a logarithmic scale.

    Args:
      numbers: of the frames, ascending; the first and the newest stay, unless there are no others.

    Returns:
      The number of the frame whose neighbours are closest to each other by the ratio of their ages.
    """
    if len(numbers) < 3:
        return numbers[-1]
    ages = [numbers[-1] - number + 1 for number in numbers]
    return numbers[min(range(1, len(numbers) - 1), key=lambda k: ages[k - 1] / ages[k + 1])]
