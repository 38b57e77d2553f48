"""The small model: MobileNetV2, 225x225, 128 channels. Trains on a CPU in hours.

    python train.py --config=configs/davis16_lite.py --workdir=out/lite --config.data.davis16.source=DAVIS \
        --config.data.duts.source=DUTS --config.data.stills.source=stills --config.init=mobilenet_v2_imagenet.npz

`configs/davis16_lite.py:smoke` takes four tiny steps.
"""

from configs import base


def get_config(mode: str = ""):
    config = base.get_config()
    config.name = "davis16_lite"
    config.size = (225, 225)
    config.batch_size = 6
    config.total_steps = 3000
    config.cycle = "still,video,video"

    config.model.backbone = "mobilenet_v2"
    config.model.channels = 128
    config.model.head_features = 128
    config.model.aspp_depth = 128
    config.model.aspp_kernel = 1
    config.model.prelu = False
    config.model.input_scaling = "unit"

    config.loss.video_side = 0.5

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 1e-4
    config.optimizer.warmup_steps = 50
    config.optimizer.groups = (("^encoder/body/", 0.1, 0.1), ("^encoder/", 1.0, 1.0), ("", 0.0, 1.0))

    config.data.train_stills = "duts,stills"
    config.data.augment.colour = 0.3

    config.evaluation.metrics = "J,F,T"

    config.validate_every = 500
    config.checkpoint_every = 100
    if mode == "smoke":
        base.make_smoke(config)
    return config
