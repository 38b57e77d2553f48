"""The small model: MobileNetV2, masks of stride 4, 257x449 at inference. Trains on a CPU in hours.

`experiments/davis16_lite.sh` makes the shipped model. To fine-tune it on videos of your own (folders VIDEO/images and
VIDEO/masks; some frames may lack a mask), here with two of them kept for validation:

    cosnet train --config=davis16_lite:finetune --workdir=out/own --config.init=davis16_lite \
        --config.data.videos.source=OWN --config.data.hold_out=OWN_cat,OWN_dog

Scores of the shipped model: docs/results.md. `davis16_lite:smoke` takes four tiny steps.
"""

from configs import base


def finetune(config):
    """A training on one's own videos."""
    config.step_pattern = "video"
    config.batch_size = 6
    config.total_steps = 300
    config.validate_every = 100
    config.optimizer.learning_rate = 2e-4
    config.freeze_batch_norm = True
    config.data.train_videos = config.data.eval_dataset = "videos"
    config.data.video_weights = ""
    config.data.eval_split = "train"
    config.data.still_pairs = 0.0
    config.evaluation.metrics = "J,F"


def get_config(mode: str = ""):
    base.check_mode(mode, "finetune", "smoke")
    config = base.get_config()
    config.name = "davis16_lite"
    config.size = (193, 337)
    config.batch_size = 8
    config.total_steps = 2400

    config.model.backbone = "mobilenet_v2"
    config.model.output_stride = 16
    config.model.channels = 128
    config.model.head_features = 64
    config.model.aspp_depth = 128
    config.model.aspp_rates = (3, 6, 9)
    config.model.aspp_kernel = 1
    config.model.prelu = False
    config.model.low_level = 48
    config.model.detail = 96
    config.model.reference_pooling = 4
    config.model.input_scaling = "unit"

    config.loss.entropy = "plain"
    config.loss.iou = 1.0
    config.loss.video_side = 0.5

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.05
    config.optimizer.no_decay = ()
    config.optimizer.warmup_steps = 50
    config.optimizer.groups = (
        ("^encoder/body/(stem|block[012])/", 0.0, 0.0),  # at full resolution they cost most and gain least
        ("^encoder/body/", 0.1, 0.1),
        ("", 1.0, 1.0),
    )

    config.data.train_videos = "davis16,videos"
    config.data.video_weights = "davis16=4"
    config.data.train_stills = "duts,stills"
    config.data.still_pairs = 0.3
    config.data.still_weights = "duts=3"  # they show all kinds of things, the others animals and people
    config.data.augment.crop = 0.8
    config.data.augment.scale = (0.6, 1.4)
    config.data.augment.colour = 0.3

    config.inference.size = (257, 449)
    config.inference.temporal_smoothing = 2.0
    # The best of 144 settings on six training sequences.
    config.inference.crf.update({"bilateral_sxy": 30.0, "bilateral_srgb": 5.0, "bilateral_compat": 14.0})
    config.inference.crf.gaussian_compat = 2.0

    config.evaluation.metrics = "J,F,T"

    config.validate_every = 500
    config.checkpoint_every = 100
    if mode == "finetune":
        config.name = "davis16_lite_finetune"
        finetune(config)
    if mode == "smoke":
        base.make_smoke(config)
    return config
