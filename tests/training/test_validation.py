"""How a training is validated: in two ways, without what would mix frames that are far apart."""

from __future__ import annotations

import numpy as np
from tiny_network import tiny_synthetic

from cosnet_jax.data.synthetic import open_videos
from cosnet_jax.inference.segmenter import Segmented, Segmenter
from cosnet_jax.training.validation import validate


def test_frames_chosen_from_all_over_a_video_are_not_smoothed(monkeypatch):
    config, given = tiny_synthetic(), []
    config.inference.temporal_smoothing = 2.0

    def segment(video, ways, **others):
        given.append([(way.num_references, way.temporal_smoothing) for way in ways])
        empty = np.zeros(video.size, np.float32)
        return (Segmented(number, frame, [empty, empty]) for number, frame in enumerate(video))

    segmenter = Segmenter.from_config(config, {})
    assert segmenter.options.temporal_smoothing == 2
    monkeypatch.setattr(segmenter, "segment", segment)
    scores = validate(segmenter, {}, open_videos("val", config.data.synthetic), 3)
    assert given == [[(1, 0.0), (0, 0.0)]] * 2
    assert scores == {"J": 0.0, "J_single_frame": 0.0}
