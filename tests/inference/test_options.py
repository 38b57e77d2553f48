"""Options of inference: what a configuration says, what replaces it, and what is refused."""

from __future__ import annotations

import pytest

from configs import davis16_released
from cosnet_jax.errors import InputError
from cosnet_jax.inference.options import InferenceOptions


def test_options_left_out_are_the_configurations():
    config = davis16_released.get_config()
    config.inference.seed = 7
    config.inference.temporal_smoothing = 0.5
    assert InferenceOptions.from_config(config) == InferenceOptions(5, "random", "prediction", 7, 0.5)
    changed = InferenceOptions.from_config(config, num_references=0, fusion="group", temporal_smoothing=0.0)
    assert changed == InferenceOptions(0, "random", "group", 7)


def test_wrong_options_are_named():
    for options, message in (
        ({"sampling": "global"}, "sampling is 'global'; expected uniform or"),
        ({"num_references": -1}, "num_references is -1; expected a whole number from 0 to 100"),
        ({"num_references": 2.5}, "num_references is 2.5; expected a whole number"),
        ({"num_references": 10**6}, "num_references is 1000000; expected"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0 to"),
        ({"seed": "abc"}, "seed is 'abc'; expected a whole number"),
        ({"temporal_smoothing": -1.0}, "inference.temporal_smoothing is -1.0; expected a number from 0 to 10"),
        ({"temporal_smoothing": float("nan")}, "inference.temporal_smoothing is nan"),
        ({"fusion": "mean"}, "fusion is 'mean'; expected prediction or"),
    ):
        with pytest.raises(InputError, match=message):
            InferenceOptions(**options)
