"""The authors' released model and recipe, which differ from the paper: the preset of converted PyTorch weights.

    python train.py --config=configs/davis16_released.py --workdir=out/released --config.data.davis16.source=DAVIS \
        --config.data.msra10k.source=MSRA10K_Imgs_GT --config.data.dut_omron.source=DUT-OMRON --config.init=CHECKPOINT

CHECKPOINT is what `cosnet convert DEEPLAB.pth --preset deeplab` made of the authors' encoder. Not run to
the end; users of the release measured J 78.1-78.3 on DAVIS-2016 val before CRF, the authors give 80.5 after it.
`configs/davis16_released.py:smoke` takes two tiny steps of either kind.
"""

from configs import base
from cosnet_jax.interop.presets import PRESETS

STEPS_PER_EPOCH = 130  # the 2,079 frames of DAVIS-2016 train in batches of 16


def get_config(mode: str = ""):
    base.check_mode(mode, "smoke")
    config = base.get_config()
    config.name = "davis16_released"
    config.recipe = "released"
    config.batch_size = 16
    config.total_steps = 60 * STEPS_PER_EPOCH
    config.step_pattern = "still,video,video"

    config.model.update(PRESETS["released"].model)
    config.inference.update(PRESETS["released"].inference)

    config.loss.still = 0.1

    config.optimizer.drop_from = 0.1  # epoch 6 of 60
    config.optimizer.repeat_updates = True
    config.optimizer.no_decay = ()
    config.optimizer.groups = (
        ("/downsample_bn/", 0.0, 0.0),
        ("^encoder/", 1.0, 0.01),
        ("", 0.0, 10.0),
    )

    config.evaluation.metrics = "J,F,T"
    if mode == "smoke":
        base.make_smoke(config)
    return config
