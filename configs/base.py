"""Every setting there is, with the paper's values where the paper has one.

The other configurations are a few assignments over this one. Any key can be set on the command line,
`--config.optimizer.learning_rate=1e-3`; a misspelt key is an error.

The paper gives the input size 473x473, batch size 8, SGD with an initial learning rate of 2.5e-4, C = 512, the head,
the alternation of still and video steps, Eq. 11, and Eq. 12 with lambda = 1e-4. It does not give momentum, weight decay
and the parameters it applies to, the decay of the learning rate, the number of steps, PReLU after the ASPP or
augmentation; these were chosen. Two things differ from the paper:

- Eq. 11 is a sum over pixels. Here it is the mean over pixels and examples, for a sum at 473x473 is 223,729 times as
  large, and SGD's steps with it.
- Eq. 12 does nothing with lambda = 1e-4. P is kept orthogonal instead, see `cosnet_jax/training/orthogonal.py`.
"""

from ml_collections import ConfigDict

from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.parallel import DistributedConfig


def get_config() -> ConfigDict:
    """The complete configuration, locked against new keys."""
    config = ConfigDict()
    config.name = "base"
    config.seed = 0  # of the initial parameters, the order of the data and their augmentation
    config.size = (473, 473)  # (height, width) of the network's input
    config.batch_size = 8  # images of a still step, pairs of a video step; over all devices
    config.total_steps = 60_000  # chosen
    config.step_pattern = "still,video"  # kinds of steps, repeated: the paper alternates the two
    config.recipe = "paper"  # paper | released: the authors' code, which differs (losses, statistics per branch)
    config.init = ""  # initial weights: of the backbone, an .npz; or a checkpoint; "" starts from random ones
    config.freeze_batch_norm = False  # normalise by the running statistics in training too
    # Parts that a device takes its share of a batch in, one after the other, to save memory. Losses and gradients are
    # averaged; batch normalisation has the statistics of one part, and moves the running ones with each. In the recipe
    # released the loss of each part is weighted by its own share of foreground, so the loss is another one.
    config.accumulate_steps = 1
    # A step whose loss or gradients are not finite: stop the training (the last checkpoint is from before), or skip its
    # update and count it in metrics.jsonl as "skipped".
    config.nonfinite_steps = "stop"  # stop | skip
    # Precision of products and convolutions in training and inference. default: the accelerator's own (TF32 on NVIDIA,
    # bfloat16 on TPU).
    config.matmul_precision = "default"  # default | float32

    config.distributed = DistributedConfig.defaults()

    config.model = ConfigDict()
    config.model.backbone = "resnet101"  # resnet101 | resnet50 | mobilenet_v2
    config.model.coattention = "symmetric"  # vanilla | symmetric | channelwise | none
    config.model.head = "paper"  # paper: two 3x3 convolutions | released: one, separate weights per branch
    config.model.channels = 512  # C, of the features
    config.model.head_features = 256
    config.model.blocks = 17  # inverted residuals of mobilenet_v2 that are kept
    config.model.output_stride = 8  # of mobilenet_v2: 8 | 16
    config.model.stride_in_first = False  # bottleneck stride in the first 1x1 (release) or the 3x3 (torchvision)
    config.model.ceil_mode = False  # of the ResNet's max pooling; the release has True
    config.model.aspp_depth = 512
    config.model.aspp_rates = (6, 12, 18)
    config.model.aspp_kernel = 3  # of the convolution that joins the ASPP's branches
    config.model.prelu = True  # after the ASPP; False: ReLU. Chosen, as the release has it
    config.model.low_level = 0  # channels of stride-8 features that refine the ASPP's (DeepLabv3+); 0: none
    config.model.detail = 0  # channels that bring features of stride 4 into those of 8, for masks of stride 4; 0: none
    config.model.gate_bias = True  # b_f of Eq. 8
    config.model.reference_pooling = 1  # average-pool reference features by this factor before co-attention; 1: off
    config.model.input_scaling = "imagenet"  # imagenet | bgr | unit
    config.model.affinity_budget = 512.0  # MiB; a larger affinity is computed block by block, with the same result
    # Type of the computation: float32 | bfloat16. Parameters, their gradients, batch statistics, softmax and losses are
    # float32 in either case.
    config.model.dtype = "float32"
    config.model.remat = False  # save memory: compute the encoder's activations again for the gradient

    config.loss = ConfigDict()
    config.loss.entropy = "balanced"  # balanced (Eq. 11, as a mean) | plain: cross-entropy; recipe paper only
    config.loss.iou = 0.0  # weight of 1 - soft IoU beside it; recipe paper only
    config.loss.still = 1.0  # weight of the still steps' loss
    config.loss.l1 = 0.8  # weight of the L1 distance beside the cross-entropy; recipe released only
    config.loss.video_side = 0.0  # weight of the side output's loss in video steps; the paper has none

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # sgd | adamw
    config.optimizer.learning_rate = 2.5e-4  # the paper's
    config.optimizer.momentum = 0.9  # chosen
    config.optimizer.weight_decay = 5e-4  # chosen
    # Patterns of names of parameters that do not decay: P of Eq. 4, biases, scales of batch normalisation, the PReLU's
    # slope. Chosen; in the release every parameter decays.
    config.optimizer.no_decay = ("^affinity/projection$", "/(bias|scale|slope)$")
    config.optimizer.power = 0.9  # exponent of the polynomial decay to 0; chosen
    config.optimizer.warmup_steps = 0
    config.optimizer.drop_from = 1.0  # share of the steps after which the learning rate is multiplied by drop_factor
    config.optimizer.drop_factor = 0.5
    config.optimizer.repeat_updates = False  # update encoder parameters 1-4 times a step, as the release does; sgd only
    # (pattern of parameter names, factor of the learning rate in still steps, in video steps). The first match counts,
    # 0 and 0 freezes, "" stands for all other parameters. The paper's still steps train the encoder alone.
    config.optimizer.groups = (("^encoder/", 1.0, 1.0), ("", 0.0, 1.0))

    config.data = ConfigDict()
    config.data.data_dir = ""  # where prepared sets are kept; "" is ~/.cache/cosnet_jax
    config.data.train_videos = "davis16"  # of davis16, fbms, videos, synthetic
    config.data.train_stills = "msra10k,dut_omron"  # of duts, msra10k, dut_omron, stills, synthetic
    config.data.video_weights = ""  # "davis16=2,SET=0.5": drawn in proportion to weight x number of annotated frames
    config.data.still_pairs = 0.0  # share of a video step's pairs that are two variations of a still image
    config.data.copy_paste = 0.0  # share of a video step's pairs that an object of a still image is pasted into
    config.data.distractors = 0.0  # share whose one frame gets such an object, which is background
    config.data.still_weights = ""  # "duts=2,msra10k=1": a set is drawn in proportion to weight x number of its images
    config.data.hold_out = ""  # sequences of the train split to validate on instead of training, "bear,bus"
    config.data.eval_dataset = "davis16"
    config.data.eval_split = "val"
    config.data.threads = 0  # that decode and augment; 0: one per core
    config.data.workers = 0  # processes that decode and augment, each with such threads; 0: threads of this one
    for name in ("davis16", "duts", "msra10k", "dut_omron", "stills", "videos", "fbms", "youtube_objects"):
        config.data[name] = ConfigDict({"source": ""})  # the set's folder as downloaded

    config.data.synthetic = ConfigDict()
    config.data.synthetic.num_videos = 200  # of training; validation has its own
    config.data.synthetic.num_val_videos = 10
    config.data.synthetic.num_frames = 20
    config.data.synthetic.num_stills = 2000
    config.data.synthetic.size = (96, 96)

    config.data.augment = ConfigDict()
    config.data.augment.crop = 0.9  # smallest side that a random crop keeps
    config.data.augment.scale = (0.7, 1.3)
    config.data.augment.flip = 0.5  # probability
    config.data.augment.colour = 0.0  # strength of brightness, contrast and saturation changes
    config.data.augment.smoke = 0.0  # probability of smoke near the object

    config.inference = InferenceConfig.defaults()

    config.evaluation = ConfigDict()
    config.evaluation.metrics = "J,F"
    config.evaluation.sample = False  # the report shows what checkpoint and shipped model make of the sample clip

    config.log_every = 20  # steps
    config.validate_every = 2000  # steps; 0: never
    config.validate_frames = 8  # evenly spaced frames of each sequence; 0: all
    config.checkpoint_every = 1000  # steps; there is a checkpoint before each validation too
    config.keep_checkpoints = 2  # the newest; the best by validation is kept besides
    # Exit status after SIGTERM. A scheduler that takes 0 for finished, as Kubernetes does, needs another one.
    config.stopped_status = 0
    config.profile_steps = ()  # (first, last) step of a trace for TensorBoard in WORKDIR/profile; (): none
    config.compilation_cache = ""  # folder where compiled programs are kept for later runs; "": none
    return config.lock()


def check_mode(mode: str, *known: str) -> None:
    """Refuses a mode, what follows a configuration file's colon, that is neither empty nor known."""
    if mode and mode not in known:
        raise KeyError(f"mode is {mode!r}; expected {' or '.join(known)}")


def make_smoke(config: ConfigDict) -> None:
    """Turns a configuration into one that shows that everything runs: small images, four steps."""
    config.size = (65, 65)
    config.batch_size = 2
    config.total_steps = 4
    config.log_every = 1
    config.validate_every = 4
    config.validate_frames = 2
    config.checkpoint_every = 2
    config.inference.size = None
    config.inference.num_references = 1
    config.evaluation.sample = False
