"""The small model: MobileNetV2, masks of stride 4, 193x337 (at last 257x449). Trains on a CPU.

Saliency on still images, from ImageNet weights; then still images and pairs in turn, as in the paper, in four rounds of
which each begins where the last one ended or from a mean of weights. `/checkpoints` stands for the last step, where the
folder itself would stand for the best by validation. Saliency and the first two rounds:

    python train.py --config=configs/davis16_lite.py:saliency --workdir=out/lite_saliency \
        --config.data.davis16.source=DAVIS --config.data.videos.source=VIDEOS,GROUPS \
        --config.data.duts.source=DUTS --config.data.stills.source=STILLS --config.init=mobilenet_v2_imagenet.npz
    python train.py --config=configs/davis16_lite.py --workdir=out/lite \
        --config.init=out/lite_saliency/checkpoints and the same sources
    python train.py --config=configs/davis16_lite.py --workdir=out/lite_again --config.seed=1 \
        --config.init=out/lite/checkpoints and the same sources
    python -m experiments.average out/lite/checkpoints out/lite_again/checkpoints --output mean.npz
    python train.py --config=configs/davis16_lite.py:coattention --workdir=out/lite_before \
        --config.init=mean.npz and the same sources
    cosnet export out/lite_before/checkpoints --output start.npz

`:coattention` trains co-attention and head alone, with most of V hidden from the head so that it learns to read Z.
After the later rounds that takes more than it gives, so they end without it.

`mobilenet_v2_imagenet.npz` holds the backbone's ImageNet weights, its batch norm folded in, for "SAME" padding as in
TensorFlow, under the names of the parameters (`stem/kernel`, `block0/depthwise/kernel`, ...). It does not come with the
package, whose model can take its place.

experiments/davis16_lite.sh makes the later rounds, from the very file that these commands stand for, the model shipped
before:

    python train.py --config=configs/davis16_lite.py --workdir=out/lite_small --config.seed=4 \
        --config.total_steps=1100 --config.data.augment.smoke=0.15 --config.init=start.npz and the same sources
    python train.py --config=configs/davis16_lite.py --workdir=out/lite_large --config.seed=5 --config.total_steps=600 \
        --config.data.augment.smoke=0.15 "--config.size=(257, 449)" --config.optimizer.learning_rate=5e-4 \
        --config.init=out/lite_small/checkpoints and the same sources
    python -m experiments.average start.npz out/lite_small/checkpoints out/lite_large/checkpoints \
        --output davis16_lite.npz

EfficientNet-Lite0 takes the place of MobileNetV2 so; its steps take twice the time on a CPU, and it was not trained:

    cosnet convert efficientnet-lite0-57934424.pth --output out/lite0 --preset efficientnet_lite0
    python train.py --config=configs/davis16_lite.py:saliency --config.init=out/lite0 --config.model.blocks=16 \
        --config.model.backbone=efficientnet_lite0 --config.model.input_scaling=lite and so on

To fine-tune the model in the package on videos of your own (folders VIDEO/images + VIDEO/masks; some frames may lack a
mask), here with two of them kept for validation:

    python train.py --config=configs/davis16_lite.py:finetune --workdir=out/own --config.data.videos.source=OWN \
        --config.init=cosnet_jax/assets/davis16_lite.npz --config.data.hold_out=OWN_cat,OWN_dog

`configs/davis16_lite.py:smoke` takes four tiny steps.
"""

from configs import base


def saliency(config):
    """The first training, on still images."""
    config.step_pattern = "still"
    config.batch_size = 12
    config.total_steps = 1500
    config.optimizer.weight_decay = 1e-4
    config.data.still_weights = ""


def coattention(config):
    """Co-attention and head alone."""
    config.step_pattern = "video"
    config.batch_size = 6
    config.total_steps = 100
    config.freeze_batch_norm = True
    config.loss.video_side = 0.0
    config.optimizer.groups = (("^encoder/", 0.0, 0.0), ("", 1.0, 1.0))


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


STAGES = {"saliency": saliency, "coattention": coattention, "finetune": finetune}


def get_config(mode: str = ""):
    base.check_mode(mode, *STAGES, "smoke")
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
    # The best of 144 settings on the six held-out sequences, by mean J.
    config.inference.crf.update({"bilateral_sxy": 30.0, "bilateral_srgb": 5.0, "bilateral_compat": 14.0})
    config.inference.crf.gaussian_compat = 2.0

    config.evaluation.metrics = "J,F,T"

    config.validate_every = 500
    config.checkpoint_every = 100
    if mode in STAGES:
        config.name = f"davis16_lite_{mode}"
        STAGES[mode](config)
    if mode == "smoke":
        base.make_smoke(config)
    return config
