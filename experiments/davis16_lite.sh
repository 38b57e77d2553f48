#!/usr/bin/env bash
# Makes the small model from ImageNet weights and data, in two stages, and scores it.
#
#   experiments/davis16_lite.sh DATA OUT IMAGENET.npz [--config.KEY=VALUE ...]
#
# DATA is what experiments/data.py makes, with a folder DAVIS. IMAGENET.npz holds MobileNetV2's ImageNet weights: batch
# norm folded in, named as the parameters (stem/kernel, block0/depthwise/kernel, ...). What is finished is not done again,
# and a training that was stopped continues. Choices are made on the held-out clips, which are not trained on; the
# validation sequences of DAVIS-2016 are scored once, at the end.
set -euo pipefail
data=$1 out=$2 imagenet=$3
shift 3
cosnet=${COSNET:-cosnet}
# Memory in pages of 2 MiB that is kept from step to step: a third less time on a CPU under Linux.
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184

model=(--config.model.separable=True)
join() { local IFS=,; echo "$*"; }
sources=(
    "--config.data.stills.source=$(join "$data"/stills/*)" --config.data.train_stills=stills
    "--config.data.videos.source=$data/videos,$data/groups" --config.data.train_videos=videos
    --config.data.still_weights=duts=3,ecssd=2,imagenet=2 --config.data.video_weights=davis16=4,real=2
)
train() {
    "$cosnet" train --config=davis16_lite --workdir="$out/$1" --config.validate_every=0 --config.checkpoint_every=500 \
        "${model[@]}" "${sources[@]}" "${@:2}"
}
# 1. Long, at a quarter of the pixels: stills and pairs in turn, at a constant rate, with an average of the weights.
train small --config.init="$imagenet" "--config.size=(129, 225)" --config.total_steps=66000 --config.optimizer.power=0 \
    --config.optimizer.ema=0.9998 "--config.data.augment.scale=(0.6, 1.6)" "$@"
# 2. Short, at the size of inference: pairs.
train lite --config.init="$out/small" "--config.size=(257, 449)" --config.total_steps=2000 --config.step_pattern=video \
    --config.optimizer.learning_rate=2e-4 --config.optimizer.ema=0.998 "$@"
"$cosnet" export "$out/lite" --output "$out/davis16_lite.safetensors" --half

evaluate() {
    "$cosnet" evaluate --config=davis16_lite --checkpoint="$out/davis16_lite.safetensors" --workdir="$out/$1" "${model[@]}" "${@:2}"
}
evaluate held_out --config.data.eval_dataset=videos --config.data.eval_split=train \
    --config.data.videos.source="$data/held_out" --config.evaluation.metrics=J,F
evaluate davis16 --config.data.davis16.source="$data/DAVIS"
