"""Validation during training: mean J over a few frames of every sequence; the best network is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from cosnet_jax import parallel
from cosnet_jax.checkpoints.store import CheckpointFolder
from cosnet_jax.data.sequence import evenly_spaced
from cosnet_jax.data.sequences import open_validation_sequences
from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.training.metric_log import MetricLog
from cosnet_jax.training.state import TrainState


def open_scorable_sequences(config: ConfigDict) -> list[Any]:
    """Opens those of the sequences to validate on, see `open_validation_sequences`, that have an annotated frame.

    Returns:
      The sequences; [] if `config.validate_every` is 0.

    Raises:
      InputError: as there; also if there are none.
    """
    if not config.validate_every:
        return []
    scorable = [sequence for sequence in open_validation_sequences(config.data) if sequence.annotated]
    if not scorable:
        raise InputError(
            "no sequence to validate on has an annotated frame; expected some in "
            f"{'data.hold_out' if config.data.hold_out else 'data.eval_dataset'}, or validate_every=0"
        )
    return scorable


class Validation:
    """Validates when it is time, and keeps the state that did best.

    Attributes:
      best_score: the best J so far.
    """

    def __init__(
        self,
        config: ConfigDict,
        segmenter: Segmenter,
        sequences: Sequence[Any],
        best: CheckpointFolder,
        log: MetricLog,
    ):
        """Validates nothing yet.

        Args:
          config: the whole configuration.
          segmenter: of the network.
          sequences: to validate on, from `open_scorable_sequences`.
          best: gets the best state.
          log: gets the scores.
        """
        self._config, self._segmenter, self._sequences, self._best, self._log = config, segmenter, sequences, best, log
        self.best_score = -1.0

    def is_due(self, step: int) -> bool:
        """Tells whether the state after a step is to be validated."""
        every = self._config.validate_every
        return bool(every) and (step % every == 0 or step == self._config.total_steps)

    def run(self, step: int, state: TrainState) -> None:
        """Validates the state after a step."""
        variables = parallel.local_copy(state.variables)
        scores = validate(self._segmenter, variables, self._sequences, self._config.validate_frames)
        self._log.write(step, "validation", scores)
        parallel.say(f"step {step}: validation J {scores['J']:.3f}, single frame {scores['J_single_frame']:.3f}")
        if scores["J"] > self.best_score:
            self.best_score = scores["J"]
            self._best.save(step, state, self._config, {"best_score": self.best_score})


def validate(
    segmenter: Segmenter, variables: dict[str, Any], sequences: Sequence[Any], frames_per_sequence: int
) -> dict[str, float]:
    """Scores a network on a few frames of each sequence. Of several processes each scores its share.

    Args:
      segmenter: of the network.
      variables: the network's present parameters and statistics.
      sequences: see `data.sequences.Sequence`; each has an annotated frame.
      frames_per_sequence: how many evenly spaced frames; references come from among them; 0 for all.

    Returns:
      {"J": with the segmenter's references, "J_single_frame": with N = 0}. Each is the mean over the annotated frames
      of a sequence, then over sequences.
    """
    plain = dataclasses.replace(segmenter.config, temporal_smoothing=0.0)  # chosen frames are no neighbours in time
    options_list = [plain, dataclasses.replace(plain, num_references=0)]
    per_sequence = []
    for sequence in parallel.share_of(sequences):
        frames = evenly_spaced(sequence, frames_per_sequence)
        scores = [
            [float(jaccard(probability > 0.5, truth)) for probability in maps]
            for index, _, maps in segmenter.predict(frames, options_list, variables=variables)
            if (truth := frames.mask(index)) is not None
        ]
        per_sequence.append(np.mean(scores, axis=0))
    sums = np.sum(np.reshape(per_sequence, (-1, 2)), axis=0)
    with_references, alone = parallel.sum_over_processes(sums) / len(sequences)
    return {"J": float(with_references), "J_single_frame": float(alone)}
