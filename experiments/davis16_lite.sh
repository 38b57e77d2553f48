#!/usr/bin/env bash
# Makes the model in the package from the one shipped before (commit 618e5f0), its tables and pictures of scores on DAVIS-2016 that
# README.md and the model card have, and the trainings of Table 1 on its encoder.
#
#   experiments/davis16_lite.sh DATA OUT
#
# DATA holds DAVIS/, DUTS/, stills/ (folders of images/ and masks/), videos/ and groups/ (folders of SET/VIDEO/ with images/
# and masks/). What is finished is not done again. Some hours on two CPU cores. configs/davis16_lite.py says how to begin from
# ImageNet weights instead.
set -euo pipefail
cd "$(dirname "$0")/.."
data=$1 out=$2
python=${PYTHON:-.venv/bin/python}
lite=configs/davis16_lite.py
sources=(--config.data.davis16.source="$data/DAVIS" --config.data.duts.source="$data/DUTS"
         --config.data.stills.source="$data/stills" --config.data.videos.source="$data/videos,$data/groups")

train() {  # NAME CONFIG INIT [OVERRIDES]
    "$python" train.py --config="$2" --workdir="$out/$1" --config.init="$3" --config.validate_every=0 \
        "${sources[@]}" "${@:4}"
}

evaluate() {  # NAME CHECKPOINT [OVERRIDES]
    [ -f "$out/$1/results.json" ] || "$python" evaluate.py --config=$lite --workdir="$out/$1" \
        --checkpoint="$2" "${sources[@]}" "${@:3}"
}

# The model: one more round of the second stage, with smoke, and a shorter one at the size of inference; their mean with where
# they began, at half precision.
mkdir -p "$out"
start=$out/start.npz weights=$out/davis16_lite.npz
if [ ! -f "$start" ]; then  # a clone without history has no such commit
    git show 618e5f0:cosnet_jax/assets/davis16_lite.npz > "$start.part" || {
        echo "the model shipped before is in the history: git fetch --unshallow, or copy it to $start" >&2
        exit 1
    }
    mv "$start.part" "$start"
fi
smoke=--config.data.augment.smoke=0.15
train lite_small $lite "$start" $smoke --config.seed=4 --config.total_steps=1100
train lite_large $lite "$out/lite_small/checkpoints" $smoke --config.seed=5 --config.total_steps=600 \
    "--config.size=(257, 449)" --config.optimizer.learning_rate=5e-4
"$python" -m experiments.average "$start" "$out"/lite_{small,large}/checkpoints --output "$weights"
evaluate lite_val "$weights"
"$python" -m cosnet_jax ablate --config=$lite --checkpoint="$weights" --workdir="$out/lite_ablation" "${sources[@]}"
"$python" -m experiments.reference_bounds --config=$lite --checkpoint="$weights" --workdir="$out/lite_bounds" \
    "${sources[@]}"

crf=--config.inference.crf plain=--config.inference.temporal_smoothing=0
evaluate lite_plain "$weights" $plain
evaluate lite_own_crf "$weights" $crf.enabled
evaluate lite_released_crf "$weights" $plain $crf.enabled $crf.bilateral_sxy=15 $crf.bilateral_srgb=7 \
    $crf.bilateral_compat=9 $crf.gaussian_compat=5

# The pictures of the model card, and that of README.md: every second of the first 60 frames of cows.
"$python" -m experiments.pictures "$out/lite_val" "$out/pictures"
mkdir -p "$out/cows"
cp "$data"/DAVIS/JPEGImages/480p/cows/000[0-5][02468].jpg "$out/cows"
"$python" -m cosnet_jax segment "$out/cows" --checkpoint "$weights" --output "$out/cows_cutout" --cutout png --no-overlay
"$python" -m experiments.moving_strip "$out/cows" "$out/cows_cutout/cutout" "$out/pictures/cows.webp" --height=200

# What each round gives, and the first one without smoke.
evaluate start_val "$start"
evaluate lite_small_val "$out/lite_small/checkpoints"
evaluate lite_large_val "$out/lite_large/checkpoints"
train no_smoke_small $lite "$start" --config.seed=4 --config.total_steps=1100
evaluate no_smoke_small_val "$out/no_smoke_small/checkpoints"

# Table 1: the co-attentions, trained alike on the encoder of the shipped model.
for seed in 0 1 2; do
    for coattention in symmetric vanilla channelwise; do
        name=${coattention}_$seed change=--config.model.coattention=$coattention
        train "$name" $lite:coattention "$weights" $change --config.seed=$seed
        evaluate "${name}_val" "$out/$name/checkpoints" $change $plain
    done
done
evaluate symmetric_0_smoothed_val "$out/symmetric_0/checkpoints"
