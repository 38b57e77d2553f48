"""How a training is validated: in two ways, without what would mix frames that are far apart, on annotated frames."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tiny_network import tiny_synthetic

from cosnet_jax.data.synthetic import open_videos
from cosnet_jax.errors import InputError
from cosnet_jax.inference.segmenter import Prediction, Segmenter
from cosnet_jax.training import validation
from cosnet_jax.training.validation import open_scorable_sequences, validate


def test_frames_chosen_from_all_over_a_video_are_not_smoothed(monkeypatch):
    config, given = tiny_synthetic(), []
    config.inference.temporal_smoothing = 2.0

    def predict(video, options_list, **others):
        given.append([(options.num_references, options.temporal_smoothing) for options in options_list])
        empty = np.zeros(video.size, np.float32)
        return (Prediction(number, frame, [empty, empty]) for number, frame in enumerate(video))

    segmenter = Segmenter.from_config(config, {})
    assert segmenter.config.temporal_smoothing == 2
    monkeypatch.setattr(segmenter, "predict", predict)
    scores = validate(segmenter, {}, open_videos("val", config.data.synthetic), 3)
    assert given == [[(1, 0.0), (0, 0.0)]] * 2
    assert scores == {"J": 0.0, "J_single_frame": 0.0}


def sparse(video, *known):
    return dataclasses.replace(video, annotated=known)


def test_frames_and_sequences_without_a_mask_are_not_scored(monkeypatch):
    config = tiny_synthetic()
    first, second = open_videos("val", config.data.synthetic)
    videos = [sparse(first, 4), sparse(second)]
    monkeypatch.setattr(validation, "open_validation_sequences", lambda data: videos)
    scorable = open_scorable_sequences(config)
    assert scorable == videos[:1]

    def predict(video, options_list, **others):
        truths = [first.mask(index) for index in video.places]
        return (Prediction(i, frame, [truths[i], ~truths[i]]) for i, frame in enumerate(video))

    segmenter = Segmenter.from_config(config, {})
    monkeypatch.setattr(segmenter, "predict", predict)
    assert validate(segmenter, {}, scorable, 2) == {"J": 1.0, "J_single_frame": 0.0}

    videos.pop(0)
    with pytest.raises(InputError, match=r"no sequence to validate on has an annotated frame; expected some in data\."):
        open_scorable_sequences(config)
    config.validate_every = 0
    assert open_scorable_sequences(config) == []
