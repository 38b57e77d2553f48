"""The network that a configuration describes."""

import pytest

from configs import davis16, davis16_lite
from cosnet_jax.errors import InputError
from cosnet_jax.models.build import build_model


def test_an_output_stride_that_the_backbone_has_not_is_refused():
    config = davis16.get_config().model
    config.output_stride = 16
    with pytest.raises(InputError, match="output_stride is 16; expected 8 with resnet101"):
        build_model(config)
    config = davis16_lite.get_config().model
    config.output_stride = 32
    with pytest.raises(InputError, match="output_stride is 32; expected 8 or 16"):
        build_model(config)


def test_details_need_features_of_stride_8():
    config = davis16_lite.get_config().model
    config.update({"detail": 4, "low_level": 0})
    with pytest.raises(InputError, match=r"detail refines features of stride 8; expected model\.low_level above 0"):
        build_model(config)


def test_references_are_pooled_over_a_position_at_least():
    config = davis16_lite.get_config().model
    config.reference_pooling = 0
    with pytest.raises(InputError, match="reference_pooling is 0; expected a whole number from 1 to 64"):
        build_model(config)
