"""A tiny model on procedural videos: needs no data and trains on a CPU in minutes. `make demo` runs it.

    cosnet train --config=synthetic --workdir=out/demo

`configs/synthetic.py:smoke` takes four tiny steps.
"""

from configs import base


def get_config(mode: str = ""):
    base.check_mode(mode, "smoke")
    config = base.get_config()
    config.name = "synthetic"
    config.size = (96, 96)
    config.batch_size = 8
    config.total_steps = 2000
    config.step_pattern = "still,video,video,video,video,video"

    config.model.backbone = "mobilenet_v2"
    config.model.blocks = 7
    config.model.channels = 64
    config.model.head_features = 48
    config.model.aspp_depth = 32
    config.model.aspp_rates = (2, 4)
    config.model.aspp_kernel = 1
    config.model.input_scaling = "unit"

    config.loss.video_side = 1.0  # so that N = 0 is as good as one frame allows

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 1e-4
    config.optimizer.no_decay = ()
    config.optimizer.warmup_steps = 50

    config.data.train_videos = "synthetic"
    config.data.train_stills = "synthetic"
    config.data.eval_dataset = "synthetic"

    config.evaluation.shows_shipped = True

    config.validate_every = 400
    config.validate_frames = 4
    config.checkpoint_every = 200
    if mode == "smoke":
        base.make_smoke(config)
        config.evaluation.shows_shipped = False
    return config
