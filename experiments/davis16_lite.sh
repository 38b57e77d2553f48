#!/usr/bin/env bash
# Makes the small model from ImageNet weights and data, in two stages, and scores it.
#
#   experiments/davis16_lite.sh DATA OUT IMAGENET.npz [--config.KEY=VALUE ...]
#
# DATA is what experiments/data.py makes: DAVIS/, stills/, groups/, videos/ and held_out/. IMAGENET.npz holds MobileNetV2's
# ImageNet weights (batch norm folded in, named as the parameters: stem/kernel, block0/depthwise/kernel, ...). What is
# finished is not done again, and a training that was stopped continues. Some 16 hours on one core. Choices are made on the
# held-out clips, which are not trained on; the validation sequences of DAVIS-2016 are scored once, at the end.
set -euo pipefail
data=$1 out=$2 imagenet=$3
shift 3
cosnet=${COSNET:-cosnet}
join() { local IFS=,; echo "$*"; }
sources=(--config.data.train_videos=videos --config.data.train_stills=stills --config.data.still_weights= --config.data.video_weights=
         "--config.data.stills.source=$(join "$data"/stills/*)" "--config.data.videos.source=$data/videos,$data/groups")
train() { "$cosnet" train --config=davis16_lite --workdir="$out/$1" --config.validate_every=0 "${sources[@]}" "${@:2}"; }

# 1. Long, at a quarter of the pixels: stills and pairs in turn, an average of the weights. 2. Short, at the size of inference.
train small --config.init="$imagenet" "--config.size=(129, 225)" --config.total_steps=100000 --config.optimizer.ema=0.9998 "$@"
train lite --config.init="$out/small/checkpoints" "--config.size=(257, 449)" --config.step_pattern=video \
    --config.total_steps=2000 --config.optimizer.learning_rate=2e-4 --config.optimizer.ema=0.998 "$@"
"$cosnet" export "$out/lite/checkpoints" --output "$out/davis16_lite.safetensors" --half

evaluate() { "$cosnet" evaluate --config=davis16_lite --checkpoint="$out/davis16_lite.safetensors" --workdir="$out/$1" "${@:2}"; }
evaluate held_out --config.data.eval_dataset=videos --config.data.eval_split=train \
    --config.data.videos.source="$data/held_out" --config.evaluation.metrics=J,F
evaluate davis16 --config.data.davis16.source="$data/DAVIS"
